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
OLDEST, NEXT = "3.10", "3.11"
HEADER = """\
# The versions this project is tested with, written by tools/lock; pip reads it as constraints.
# torch comes first because a plain `torch` would fetch the newest CUDA build. For another build of
# the same version: PSYCHE_TORCH_INDEX=https://download.pytorch.org/whl/cu130 tools/localnet
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        python = str(Path(folder) / "bin" / "python")
        _run(sys.executable, "-m", "venv", folder)
        _run(python, "-m", "pip", "install", "--quiet", *PINNED)
        _run(python, "-m", "pip", "install", "--quiet", *PINNED, f"{ROOT}[dev,observer]")
        frozen = _run(python, "-m", "pip", "freeze", "--exclude", "psyche-p2p").splitlines()
        lines = []
        for number, line in enumerate(frozen, 1):
            print(f"\r{number}/{len(frozen)} {line:60}", end="", file=sys.stderr, flush=True)
            lines += _for_all_pythons(python, _without_local_version(line))
    rest = [line for line in lines if line not in PINNED]
    LOCK.write_text(HEADER + "\n".join([*PINNED, *rest]) + "\n")
    print(f"\rwrote {len(frozen)} versions to {LOCK.name}{'':60}", file=sys.stderr)
    return 0


def _without_local_version(line: str) -> str:
    """torch==2.13.0+cpu is torch==2.13.0 to whoever reads the lock."""
    return re.sub(r"\+[a-z0-9.]+$", "", line)


def _for_all_pythons(python: str, line: str) -> list[str]:
    """The line as it is, or two of them where the oldest Python needs an older version."""
    name = line.partition("==")[0]
    if line in PINNED or _newest_for_oldest(python, line):
        return [line]
    older = _newest_for_oldest(python, name)
    if not older:  # no wheels at all: it is built from source, for any Python
        return [line]
    return [
        f'{line}; python_version >= "{NEXT}"',
        f'{name}=={older}; python_version < "{NEXT}"',
    ]


def _newest_for_oldest(python: str, requirement: str) -> str:
    """The version pip would choose on the oldest Python, or "" if there is none."""
    options = ["--dry-run", "--ignore-installed", "--no-deps", "--only-binary=:all:"]
    command = [python, "-m", "pip", "install", *options, "--python-version", OLDEST]
    result = subprocess.run(
        [*command, "--target", str(ROOT / ".unused"), requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    chosen = re.search(r"^Would install \S+-([^-\s]+)\s*$", result.stdout, flags=re.MULTILINE)
    return chosen.group(1) if chosen else ""


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    sys.exit(main())
