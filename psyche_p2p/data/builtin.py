"""The text that every machine already has: the source of Python's standard library.

Which files those are, and their bytes, depends on Python's minor version and on a distribution's
patches; the manifest says whether two peers have the same. Files that an installation generates or
that distributions are known to patch are left out.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from psyche_p2p.data.manifest import Manifest, make_manifest
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error

STDLIB = "stdlib"
_ENCODING = "bytes"
_LEFT_OUT = frozenset(
    {"distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site", "sysconfig"}
    | {"test", "tests", "turtledemo", "__pycache__", "this", "antigravity"}
)


def load_stdlib() -> tuple[Manifest, bytes]:
    """The manifest and the text, each file followed by a zero byte."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    try:
        files = [(name, (folder / name).read_bytes()) for name in sorted(_source_names(folder))]
    except OSError as error:
        raise storage_error("cannot read Python's standard library in", folder, error) from error
    if not files:
        raise DataError(
            f"there is no source of Python's standard library in {str(folder)!r}",
            "install a full Python, or train on files of your own with data.provider = tokens",
        )
    return make_manifest(_ENCODING, files), b"".join(data + b"\0" for _, data in files)


def _source_names(folder: Path) -> Iterator[str]:
    for name in sorted(sys.stdlib_module_names - _LEFT_OUT):
        if name.startswith("_sysconfigdata"):
            continue
        if (folder / f"{name}.py").is_file():
            yield f"{name}.py"
        for path in (folder / name).rglob("*.py"):
            relative = path.relative_to(folder)
            if _LEFT_OUT.isdisjoint(relative.parts):
                yield relative.as_posix()
