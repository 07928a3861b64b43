"""tools/test: runs every check, shows what failed, and ends with pytest's line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
STATIC_CHECKS = {
    "format": ["ruff", "format", "--check", "--quiet"],
    "lint": ["ruff", "check", "--quiet"],
    "types": ["mypy", "--no-error-summary"],
    "imports": ["lint-imports"],
}
_MOST_WORKERS = 4
_MARKERS = {"fast": "not slow and not long", "default": "not long", "long": ""}


def main() -> int:
    options, pytest_arguments = _parse_arguments()
    passed = [_static_check(name) for name in STATIC_CHECKS]
    passed.append(_tests(options.samples, pytest_arguments))
    return 0 if all(passed) else 1


def _parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="tools/test",
        description="Format, lint, types, import graph and tests, with warnings as errors.",
        epilog="Other arguments go to pytest: tools/test --fast tests/wire -k envelope",
    )
    samples = parser.add_mutually_exclusive_group()
    samples.add_argument("--fast", dest="samples", action="store_const", const="fast")
    samples.add_argument("--long", dest="samples", action="store_const", const="long")
    parser.set_defaults(samples="default")
    return parser.parse_known_args()


def _static_check(name: str) -> bool:
    program, *arguments = STATIC_CHECKS[name]
    began = time.monotonic()
    result = subprocess.run(
        [str(BIN / program), *arguments], cwd=ROOT, text=True, capture_output=True, check=False
    )
    ok = result.returncode == 0
    print(f"{'ok    ' if ok else 'FAILED'} {name} ({time.monotonic() - began:.1f} s)", flush=True)
    if not ok:
        print(result.stdout + result.stderr, flush=True)
    return ok


def _tests(samples: str, arguments: list[str]) -> bool:
    command = [str(BIN / "python"), "-m", "pytest", "-q", f"--hypothesis-profile={samples}"]
    if _MARKERS[samples] and "-m" not in arguments:
        command += ["-m", _MARKERS[samples]]
    if not arguments:
        # whole files, in the order of collection: fixtures of a module are made once
        command += ["-n", str(_workers()), "--dist", "loadfile", "--no-loadscope-reorder"]
    environment = {**os.environ, "PSYCHE_TEST_SAMPLES": samples}
    environment.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other, spinning
    result = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, check=False)
    return result.returncode == 0


def _workers() -> int:
    """A worker a core, but no crowd: the tests start networks of their own."""
    return min(os.cpu_count() or 1, _MOST_WORKERS)


if __name__ == "__main__":
    sys.exit(main())
