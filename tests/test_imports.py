"""The import contracts hold, and break when someone imports upwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINT = Path(sys.executable).parent / "lint-imports"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("wire/varint.py", "import psyche_p2p.coordinator", "Imports point down"),
        ("consensus/__init__.py", "import time", "Agreement is pure"),
        ("coordinator/__init__.py", "import torch", "Agreement is pure"),
        ("train/__init__.py", "import asyncio", "Training knows no network"),
        ("net/__init__.py", "import torch", "Agreement and network run without torch"),
        ("net/__init__.py", "import google.protobuf", "Only the wire touches protobuf"),
        ("identity.py", "import psyche_p2p.novelty", "Imports point down"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "psyche_p2p", tmp_path / "psyche_p2p")
    (tmp_path / "psyche_p2p" / "novelty.py").write_text('"""A module in no layer."""\n')
    if "novelty" not in line:
        (tmp_path / "psyche_p2p" / "novelty.py").unlink()
    path = tmp_path / "psyche_p2p" / module
    path.write_text(path.read_text() + f"\n{line}\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['lint-imports', '--no-cache']; from importlinter.cli import lint_imports_command as main; main()"  # noqa: E501
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert contract in result.stdout
