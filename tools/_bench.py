"""tools/bench: finds the benchmark's module and runs its `main(arguments)`."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "benchmarks"
_USAGE = 2


def main(arguments: list[str]) -> int:
    known = dict(_benchmarks())
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: tools/bench NAME [options]\n")
        for name, summary in known.items():
            print(f"  {name:12} {summary}")
        return 0
    name, *rest = arguments
    if name not in known:
        names = ", ".join(known) or "none"
        print(f"error: no benchmark {name!r}; there are: {names}", file=sys.stderr)
        return _USAGE
    return int(importlib.import_module(f"benchmarks.{name}").main(rest) or 0)


def _benchmarks() -> Iterator[tuple[str, str]]:
    """Names and first lines of the modules with a `main`, read without importing them."""
    for path in sorted(_FOLDER.glob("*.py")):
        module = ast.parse(path.read_text())
        functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
        if "main" in functions:
            yield path.stem, (ast.get_docstring(module) or "").split("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
