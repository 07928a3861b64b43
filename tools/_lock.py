"""tools/lock: a fresh resolution in a throw-away environment, written down as constraints."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "constraints.txt"
# Chosen by hand: everything else follows from these and setup.cfg.
PINNED = ("torch==2.13.0",)
HEADER = """\
# The versions this project is tested with, written by tools/lock; pip reads it as constraints.
# torch comes first because a plain `torch` would fetch the newest CUDA build. For another build of
# the same version: PSYCHE_TORCH_INDEX=https://download.pytorch.org/whl/cu130 tools/localnet
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        _run(sys.executable, "-m", "venv", folder)
        _run(str(python), "-m", "pip", "install", "--quiet", *PINNED)
        _run(str(python), "-m", "pip", "install", "--quiet", *PINNED, f"{ROOT}[dev,observer]")
        frozen = _run(str(python), "-m", "pip", "freeze", "--exclude", "psyche-p2p")
    names = [_without_local_version(line) for line in frozen.splitlines()]
    rest = [line for line in names if line not in PINNED]
    LOCK.write_text(HEADER + "\n".join([*PINNED, *rest]) + "\n")
    print(f"wrote {len(names)} versions to {LOCK.name}")
    return 0


def _without_local_version(line: str) -> str:
    """torch==2.13.0+cpu is torch==2.13.0 to whoever reads the lock."""
    return re.sub(r"\+[a-z0-9.]+$", "", line)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    sys.exit(main())
