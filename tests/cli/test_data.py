"""`psyche-peer data manifest`: the hash to pin, and which file differs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from psyche_p2p.cli.main import _exit_code, cli
from psyche_p2p.errors import ExitCode

CONFIG = """
[run]
name = "tokens"
total_rounds = 1
[model]
vocab_size = 256
hidden_size = 64
intermediate_size = 128
num_layers = 1
num_attention_heads = 2
num_key_value_heads = 2
max_seq_len = 16
[data]
provider = "tokens"
files = ["*.bin"]
sequence_length = 16
[optimizer.distro]
chunk_size = 64
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.toml").write_text(CONFIG)
    for peer in ("mine", "theirs"):
        (tmp_path / peer).mkdir()
        for name in ("a.bin", "b.bin"):
            (tmp_path / peer / name).write_bytes(np.arange(200, dtype="<u2").tobytes())
    return tmp_path


def manifest(folder: Path, peer: str, *options: str) -> tuple[int, str]:
    arguments = ["data", "manifest", str(folder / "run.toml"), "--data-dir", str(folder / peer)]
    result = CliRunner().invoke(cli, [*arguments, *options], standalone_mode=False)
    if result.exception is not None:
        return getattr(result.exception, "exit_code", -1), str(result.exception)
    return int(result.return_value or 0), result.output


def test_equal_data_has_one_hash(folder: Path) -> None:
    code, printed = manifest(folder, "mine")
    assert code == ExitCode.OK
    assert manifest(folder, "theirs") == (code, printed)
    assert len(bytes.fromhex(printed.strip())) == 32


def test_the_file_that_differs_is_named(folder: Path) -> None:
    listed = str(folder / "theirs.txt")
    assert manifest(folder, "theirs", "--out", listed)[0] == ExitCode.OK
    assert manifest(folder, "mine", "--compare", listed)[0] == ExitCode.OK
    (folder / "mine" / "b.bin").write_bytes(bytes(400))
    code, message = manifest(folder, "mine", "--compare", listed)
    assert code == ExitCode.DATA
    assert message.startswith("b.bin differs: 400 bytes")
    code, message = manifest(folder, "mine", "--compare", str(folder / "run.toml"))
    assert (code, "is not a data manifest" in message) == (ExitCode.DATA, True)


def test_json_has_a_line_a_file(folder: Path) -> None:
    _, printed = manifest(folder, "mine", "--json")
    head, *files = [json.loads(line) for line in printed.splitlines()]
    assert head["encoding"] == "uint16-le"
    assert [file[:2] for file in files] == [["a.bin", 400], ["b.bin", 400]]


def test_damage_ends_in_the_documented_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine" / "a.bin").write_bytes(b"abc")
    arguments = ["data", "manifest", str(folder / "run.toml"), "--data-dir", str(folder / "mine")]
    assert _exit_code(cli, arguments) == ExitCode.DATA
    assert "error: a.bin has 3 bytes, not a multiple of 2" in capsys.readouterr().err
