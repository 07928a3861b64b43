"""The benchmarks of tools/bench, a module each."""
