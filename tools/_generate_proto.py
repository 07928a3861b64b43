"""Runs protoc over proto/ and puts flat Python modules where the wire package imports them from."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GENERATED = ROOT / "psyche_p2p" / "wire" / "generated"
_PACKAGE = "psyche_p2p.wire.generated"
_INIT = '"""Generated from proto/ by tools/generate-proto; used by psyche_p2p.wire alone."""\n'


def generate() -> dict[str, str]:
    """The content of every generated file, by name."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--pyi_out={folder}"]
        if protoc.main([*arguments, *sources]) != 0:
            raise SystemExit("protoc refused the files in proto/: see the lines above")
        made = {
            path.name: _with_our_imports(path.read_text())
            for path in sorted(Path(folder).rglob("*.py*"))
        }
    return {"__init__.py": _INIT, **made}


def _with_our_imports(text: str) -> str:
    """protoc imports its siblings as a top-level package `psyche.v1`; ours live elsewhere."""
    return re.sub(r"^from psyche\.v1 import", f"from {_PACKAGE} import", text, flags=re.MULTILINE)


def main() -> int:
    files = generate()
    GENERATED.mkdir(parents=True, exist_ok=True)
    for stale in GENERATED.iterdir():
        if stale.is_file() and stale.name not in files:
            stale.unlink()
    for name, text in files.items():
        (GENERATED / name).write_text(text)
    print(f"wrote {len(files)} files to {GENERATED.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
