"""inspect-blob as people and scripts run it: output, exit codes, terminal and pipe."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from psyche_p2p.blobs import BlobStore, SealedBlob, Transform, seal_update
from psyche_p2p.cli.inspect_blob import inspect_blob
from psyche_p2p.cli.main import run_command
from psyche_p2p.cli.tables import Sheet, print_sheets
from psyche_p2p.codec import build_grid
from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import ExitCode
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint_writer import write_checkpoint
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.optim.grids import tensor_specs
from tests.blobs.builders import (
    ORIGIN,
    make_compact_targets,
    make_large,
    make_parameters,
    make_targets,
    make_update,
)
from tests.codec.builders import make_coefficients

ROOT = Path(__file__).resolve().parents[2]
Output = pytest.CaptureFixture[str]


def inspect(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        run_command(inspect_blob, [str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def inspect_json(capsys: Output, *arguments: object) -> tuple[int, Any]:
    code = inspect(*arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def save(folder: Path, name: str, sealed: SealedBlob) -> Path:
    path = folder / name
    path.write_bytes(sealed.to_bytes())
    return path


def test_an_update_is_shown_tensor_by_tensor(tmp_path: Path, capsys: Output) -> None:
    sealed = make_update(origin=replace(ORIGIN, tier=Tier(1)))
    assert inspect(save(tmp_path, "a", sealed)) == ExitCode.OK
    text = capsys.readouterr().out
    for expected in (sealed.blob_hash.hex(), "valid", "yes", "ffn.gate", "64x32", "total", "signs"):
        assert expected in text
    assert "\x1b" not in text
    assert "│" not in text


def test_json_holds_everything(tmp_path: Path, capsys: Output) -> None:
    sealed = make_update()
    code, report = inspect_json(capsys, save(tmp_path, "a", sealed))
    assert code == ExitCode.OK
    assert report["hash"] == sealed.blob_hash.hex()
    assert (report["valid"], report["reasons"]) == (True, [])
    assert report["header"]["producer"] == ORIGIN.producer
    assert report["header"]["batch"] == [64, 68]
    assert [section["name"] for section in report["sections"]] == ["live", "low", "unary", "signs"]
    (gate,) = [tensor for tensor in report["tensors"] if tensor["name"] == "ffn.gate"]
    assert gate["entries"] == gate["positive"] + gate["negative"]
    assert report["totals"]["entries"] == sum(tensor["entries"] for tensor in report["tensors"])
    assert 1 < report["totals"]["bound_ratio"] < 1.5


@pytest.mark.parametrize("form", ["plain", "compact"])
def test_targets_are_shown_in_either_form(tmp_path: Path, capsys: Output, form: str) -> None:
    sealed = make_compact_targets() if form == "compact" else make_targets()
    path = save(tmp_path, "a", sealed)
    assert inspect(path) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "bytes_per_token" in shown
    _, report = inspect_json(capsys, path)
    targets = report["targets"]
    assert [targets[name] for name in ("form", "samples", "positions", "top_k")] == [form, 4, 16, 5]
    # two bytes an index and a logit and four, or less than ten bits, one byte, and two
    assert targets["bytes_per_token"] == 24 if form == "plain" else targets["bytes_per_token"] < 13
    assert 0 < targets["least_mass"] <= targets["mean_mass"] < 1
    assert (targets["bound_bits_per_index"] is None) == (form == "plain")


@pytest.mark.parametrize("sealed", [make_targets(), make_parameters()], ids=["targets", "params"])
def test_whole_tensors_are_shown(tmp_path: Path, capsys: Output, sealed: SealedBlob) -> None:
    path = save(tmp_path, "a", sealed)
    assert inspect(path) == ExitCode.OK
    assert sealed.header.tensors[0].name in capsys.readouterr().out
    _, report = inspect_json(capsys, path)
    assert [tensor["name"] for tensor in report["tensors"]] == [
        tensor.name for tensor in sealed.header.tensors
    ]
    assert "totals" not in report


def test_an_invalid_blob_has_reasons_and_its_own_exit_code(tmp_path: Path, capsys: Output) -> None:
    data = bytearray(make_update().to_bytes())
    data[-1] ^= 1
    path = tmp_path / "bad"
    path.write_bytes(data)
    assert inspect(path) == ExitCode.INVALID
    text = capsys.readouterr().out
    assert "NO" in text
    assert "payload_hash: the sections are not what the header's hash says" in text
    assert "header:" in text
    code, report = inspect_json(capsys, path)
    assert (code, report["valid"], report["reasons"][0]["flaw"]) == (11, False, "payload_hash")
    path.write_bytes(data[:40])
    assert inspect(path) == ExitCode.INVALID
    assert "header:" not in capsys.readouterr().out
    path.write_bytes(b"")
    assert inspect(path) == ExitCode.INVALID


def test_a_hash_is_found_in_any_store_below(tmp_path: Path, capsys: Output) -> None:
    sealed = make_update()
    BlobStore.open(tmp_path / "localnet" / "peer1" / "blobs", 1 << 20)
    store = BlobStore.open(tmp_path / "localnet" / "peer2" / "blobs", 1 << 20)
    store.add(sealed)
    digits = sealed.blob_hash.hex()[:8]
    for where in (tmp_path, store.folders.root):
        code, report = inspect_json(capsys, digits, "--store", where)
        assert (code, report["hash"]) == (0, sealed.blob_hash.hex())
    path = store.folders.blob(sealed.blob_hash)
    path.chmod(0o644)
    path.write_bytes(make_update(1).to_bytes())
    assert inspect(digits, "--store", tmp_path) == ExitCode.INVALID
    assert "has other content" in capsys.readouterr().out


def test_what_is_not_there_is_said_in_one_line(tmp_path: Path, capsys: Output) -> None:
    store = BlobStore.open(tmp_path, 1 << 24)
    sealed = make_large(1 << 20)
    partial = store.receive(sealed.manifest)
    assert partial is not None
    partial.close()
    for argument, told in (
        ("nothing.blob", "there is no file 'nothing.blob'"),
        ("abcd", "there is no file 'abcd'"),
        ("00" * 32, "no store in"),
        (sealed.blob_hash.hex()[:10], "is not complete"),
        (str(tmp_path), "is not a regular file"),
    ):
        assert inspect(argument, "--store", tmp_path) == ExitCode.STORAGE
        error = capsys.readouterr().err
        assert told in error
        assert len(error.splitlines()) == 1


def test_a_hash_with_several_meanings_is_refused(tmp_path: Path, capsys: Output) -> None:
    store = BlobStore.open(tmp_path, 1 << 20)
    folder = store.folders.blobs / "ab"
    folder.mkdir()
    for end in "01":
        (folder / ("ab" * 31 + "a" + end)).write_bytes(b"x")
    assert inspect("ababab", "--store", tmp_path) == ExitCode.STORAGE
    assert "2 blobs begin with ababab; give more digits" in capsys.readouterr().err


def test_two_updates_are_compared(tmp_path: Path, capsys: Output) -> None:
    a, b = (save(tmp_path, str(seed), make_update(seed)) for seed in (1, 2))
    assert inspect("--diff", a, b) == ExitCode.OK
    assert "same sign" in capsys.readouterr().out
    code, report = inspect_json(capsys, "--diff", a, a)
    assert code == ExitCode.OK
    assert (report["total"]["overlap"], report["total"]["sign_agreement"]) == (1, 1)
    code, report = inspect_json(capsys, "--diff", a, b)
    assert 0 < report["total"]["overlap"] < 1
    assert report["total"]["common"] == sum(each["common"] for each in report["tensors"])
    bad = tmp_path / "bad"
    bad.write_bytes(b"junk")
    assert inspect("--diff", a, bad) == ExitCode.INVALID


def test_a_picture_is_drawn(tmp_path: Path, capsys: Output) -> None:
    path, picture = save(tmp_path, "a", make_update()), tmp_path / "out.png"
    assert inspect(path, "--plot", picture) == ExitCode.OK
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert inspect(path, "--plot", tmp_path / "no" / "out.png") == ExitCode.STORAGE
    assert inspect(path, "--plot", tmp_path / "out.docx") == ExitCode.RESOURCES
    assert "name it .png or .svg" in capsys.readouterr().err


@pytest.fixture(scope="module")
def model() -> ModelConfig:
    return ModelConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=64,
        num_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_seq_len=16,
        max_tier=2,
    )


@pytest.fixture(scope="module")
def checkpoint(model: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    state = {name: torch.zeros(shape) for name, shape in parameter_shapes(model).items()}
    write_checkpoint(folder, model, state)
    return folder


def update_of_model(model: ModelConfig, tier: Tier, chunk_size: int = 16) -> SealedBlob:
    origin = replace(ORIGIN, tier=tier, schema_hash=schema_hash(model_schema(model)))
    grid = build_grid(
        tensor_specs(model), chunk_size=chunk_size, max_tier=model.max_tier, tier=tier
    )
    coefficients = make_coefficients(grid, np.random.default_rng(0))
    return seal_update(
        origin, grid, coefficients, Transform.DCT, chunk_size=chunk_size, tokens=1, loss=0.0
    )


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_an_update_of_any_tier_fits_the_checkpoint_it_was_made_for(
    tmp_path: Path, capsys: Output, checkpoint: Path, model: ModelConfig, tier: int
) -> None:
    path = save(tmp_path, "a", update_of_model(model, Tier(tier)))
    assert inspect(path, "--against", checkpoint) == ExitCode.OK
    assert "verdict     fits" in capsys.readouterr().out
    code, report = inspect_json(capsys, path, "--against", checkpoint)
    assert (code, report["fit"]["fits"], report["fit"]["not_in_blob"]) == (0, True, [])


def test_an_update_of_another_model_does_not_fit(
    tmp_path: Path, capsys: Output, checkpoint: Path, model: ModelConfig
) -> None:
    wider = model.model_copy(update={"vocab_size": 80})
    path = save(tmp_path, "a", update_of_model(wider, Tier(1)))
    assert inspect(path, "--against", checkpoint) == ExitCode.INVALID
    told = capsys.readouterr().out
    assert "DOES NOT FIT" in told
    assert "80x16, the model has 64x16 at this tier" in told
    shallower = model.model_copy(update={"num_layers": 1})
    path = save(tmp_path, "b", update_of_model(shallower, Tier(0)))
    code, report = inspect_json(capsys, path, "--against", checkpoint)
    assert code == ExitCode.INVALID
    assert len(report["fit"]["not_in_blob"]) == len(report["fit"]["tensors"]) - 3
    path = save(tmp_path, "c", make_update())
    code, report = inspect_json(capsys, path, "--against", checkpoint)
    assert {tensor["fits"] for tensor in report["fit"]["tensors"]} == {"not in the model"}
    assert inspect(path, "--against", tmp_path) == ExitCode.MODEL


def test_wrong_usage(tmp_path: Path, capsys: Output) -> None:
    path = save(tmp_path, "a", make_update())
    parameters = save(tmp_path, "p", make_parameters())
    for arguments in (
        [],
        [path, "--diff", path, path],
        ["--diff", path, path, "--plot", tmp_path / "x.png"],
        ["--diff", path, parameters],
        [parameters, "--plot", tmp_path / "x.png"],
    ):
        assert inspect(*arguments) == ExitCode.USAGE, arguments
    assert inspect("--help") == ExitCode.OK
    assert "Examples:" in capsys.readouterr().out


def test_the_tool_runs(tmp_path: Path) -> None:
    path = save(tmp_path, "a", make_update())
    command = [sys.executable, str(ROOT / "tools" / "_inspect_blob.py"), str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "valid" in result.stdout


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_tables_are_drawn_in_a_terminal_and_plain_in_a_pipe() -> None:
    sheet = Sheet("things", ("name", ">size"), (("[red]a", "5"), ("bb", "1000")))
    pipe, terminal = io.StringIO(), Terminal()
    print_sheets([sheet, sheet], pipe)
    plain = "things:\n  name    size\n  [red]a     5\n  bb      1000\n"
    assert pipe.getvalue() == f"{plain}\n{plain}"
    print_sheets([sheet], terminal)
    assert "[red]a" in terminal.getvalue()
    assert "┃" in terminal.getvalue() or "|" in terminal.getvalue()
