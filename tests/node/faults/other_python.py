"""A trainer on another Python: `python -m tests.node.faults.other_python STDLIB IN OUT`.

STDLIB is where the source of that Python's standard library is.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from psyche_p2p.data import builtin
from psyche_p2p.train.__main__ import main


class OtherPaths:
    """Of `sysconfig`, what tells where the standard library is."""

    stdlib: Path

    def get_paths(self) -> dict[str, str]:
        return sysconfig.get_paths() | {"stdlib": str(self.stdlib)}


def make_stdlib(folder: Path, changed: str) -> Path:
    """This Python's standard library, but for one file, as another version would have it."""
    folder.mkdir()
    for path in Path(sysconfig.get_paths()["stdlib"]).iterdir():
        if path.name == changed:
            (folder / path.name).write_bytes(path.read_bytes() + b"\n# of another version\n")
        else:
            (folder / path.name).symlink_to(path)
    return folder


if __name__ == "__main__":
    OtherPaths.stdlib = Path(sys.argv.pop(1))
    setattr(builtin, "sysconfig", OtherPaths())  # noqa: B010 - a module, as mypy sees it
    sys.exit(main())
