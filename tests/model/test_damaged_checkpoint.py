"""Damaged and lying checkpoints: a clear error that names tensor and file, and bounded memory."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from psyche_p2p.errors import ModelError, PsycheError
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.checkpoint_writer import WriteOptions, write_checkpoint
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.tensor_file import MAX_HEADER_BYTES, read_header
from tests.model.configs import tiny_config

CONFIG = tiny_config()
GATE = "model.layers.0.mlp.gate_proj.weight"
NORM = "model.norm.weight"


def make(tmp_path: Path, max_shard_bytes: int = 1 << 30) -> Path:
    """A sound checkpoint without a manifest, so that only structure can give damage away."""
    folder = tmp_path / "c"
    options = WriteOptions(max_shard_bytes=max_shard_bytes)
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1), options=options)
    (folder / "psyche.json").unlink()
    return folder


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def load(folder: Path) -> None:
    open_checkpoint(folder).read_state()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(NORM), rf"tensor '{NORM}' is missing from '.*c'"),
        (lambda t: t.pop(GATE), rf"tensor '{GATE}' is missing"),
        (
            lambda t: t.update(extra=torch.ones(3)),
            r"tensor 'extra' in '.*model.safetensors' is not part",
        ),
        (
            lambda t: t.update({NORM: torch.ones(33)}),
            rf"tensor '{NORM}' in '.*model.safetensors' has shape \[33\] instead of \[32\]",
        ),
        (
            lambda t: t.update({GATE: torch.ones(48, 32)}),
            rf"tensor '{GATE}' in '.*model.safetensors' has 48 FFN units, which is no tier of 64",
        ),
        (
            lambda t: t[NORM].fill_(float("nan")),
            rf"tensor '{NORM}' in '.*model.safetensors' holds 32 values that are not finite",
        ),
        (
            lambda t: t[GATE].view(-1)[-1:].fill_(float("inf")),
            rf"tensor '{GATE}' in '.*model.safetensors' holds 1 values that are not finite",
        ),
        (
            lambda t: t.update({NORM: torch.ones(32, dtype=torch.int64)}),
            rf"tensor '{NORM}' has type 'I64'; known: F32, F16, BF16",
        ),
    ],
)
def test_wrong_tensors(tmp_path: Path, change: Any, message: str) -> None:
    folder = make(tmp_path)
    change_tensors(folder, change)
    with pytest.raises(ModelError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(matformer_tier=1),
            rf"claims tier 1 \(32 FFN units\), but tensor '{GATE}' in '.*' has 64: tier 0",
        ),
        (
            lambda c: c.update(intermediate_size=32),
            rf"claims intermediate_size 32, but tensor '{GATE}' in '.*' has 64 FFN units",
        ),
        (
            lambda c: c.update(matformer_base_intermediate_size=96),
            rf"tensor '{GATE}' in '.*' has 64 FFN units, which is no tier of 96",
        ),
        (lambda c: c.update(matformer_tier=99), "matformer_tier must be a tier from 0 to 7"),
        (lambda c: c.update(matformer_tier="0"), "matformer_tier must be a tier"),
        (lambda c: c.update(matformer_tier=True), "matformer_tier must be a tier"),
        (lambda c: c.pop("hidden_size"), "'hidden_size' is missing"),
        (lambda c: c.update(hidden_size=-1), "hidden_size must be a positive integer"),
        (lambda c: c.update(vocab_size=1 << 40), "vocab_size: Input should be less than"),
        (lambda c: c.update(num_hidden_layers=10**9), "num_layers: Input should be less than"),
        (lambda c: c.update(num_hidden_layers=3), "layers.2.* is missing"),
        (lambda c: c.update(model_type="bert"), "model_type is 'bert', not 'llama'"),
        (lambda c: c.update(hidden_act="gelu"), "hidden_act 'gelu' is not one of"),
        (lambda c: c.update(rope_scaling={"factor": 2}), "rope_scaling is not supported"),
        (lambda c: c.update(rope_parameters={"rope_type": "yarn"}), "rope_parameters of another"),
        (lambda c: c.update(head_dim=16), "head_dim 16 times 4 heads is not hidden_size 32"),
        (lambda c: c.update(num_key_value_heads=3), "must divide"),
        (lambda c: c.update(attention_bias=True), "must be equal"),
    ],
)
def test_a_config_that_lies(tmp_path: Path, change: Any, message: str) -> None:
    folder = make(tmp_path)
    change_json(folder / "config.json", change)
    with pytest.raises(ModelError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda i: i["weight_map"].update({NORM: "model-00001-of-00006.safetensors"}),
            rf"holds tensor '{NORM}', which .*index.json places in 'model-00001",
        ),
        (lambda i: i["weight_map"].pop(NORM), rf"holds tensor '{NORM}', which .* in 'None'"),
        (
            lambda i: i["weight_map"].update(ghost="model-00001-of-00006.safetensors"),
            "places tensor 'ghost' in 'model-00001-of-00006.safetensors', which does not hold it",
        ),
        (
            lambda i: i["weight_map"].update(ghost="../../etc/x.safetensors"),
            "names '../../etc/x.safetensors', which is no shard",
        ),
        (lambda i: i["weight_map"].update(ghost=7), "names '7', which is no shard"),
        (lambda i: i["weight_map"].update(ghost="no.safetensors"), "which does not exist"),
        (lambda i: i["metadata"].update(total_size=1), "claims 1 bytes of tensors"),
        (lambda i: i.pop("weight_map"), "has no weight_map"),
    ],
)
def test_an_index_that_lies(tmp_path: Path, change: Any, message: str) -> None:
    folder = make(tmp_path, max_shard_bytes=20_000)
    assert (folder / "model-00006-of-00006.safetensors").exists()
    change_json(folder / "model.safetensors.index.json", change)
    with pytest.raises(ModelError, match=message):
        load(folder)


def write_file(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(**changes: Any) -> dict[str, Any]:
    return {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        (entry(), b"12345678", 10 << 30, "claims 10737418240 bytes of a file of"),
        (entry(), b"12345678", (1 << 64) - 1, "claims 18446744073709551615 bytes"),
        (entry(), b"1234567", None, "tensor 't' should end at byte"),
        (entry(), b"123456789", None, "1 bytes after the last tensor belong to none"),
        (entry(shape=[3]), b"12345678", None, r"of shape \[3\] cannot lie in bytes 0 to 8"),
        (entry(shape=[-2]), b"12345678", None, "shape or place that is not one"),
        (entry(shape=[True, 2]), b"12345678", None, "shape or place that is not one"),
        (entry(shape=[1] * 9), b"12345678", None, "shape or place that is not one"),
        (entry(shape=[1 << 47, 1 << 47]), b"", None, "cannot lie in bytes"),
        (entry(data_offsets=[8, 0]), b"12345678", None, "cannot lie in bytes 8 to 0"),
        (entry(data_offsets=[4, 12]), b"123456789012", None, "leaves a gap before it"),
        (entry(dtype="I8"), b"12345678", None, "has type 'I8'"),
        (entry(more=1), b"12345678", None, "is not one of safetensors"),
        (
            {**entry(), "u": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
            b"12345678",
            None,
            "tensor 'u' overlaps another",
        ),
        ({"t": 5}, b"", None, "is not one of safetensors"),
        (b'{"t": 1, "t": 2}', b"", None, "the key 't' appears twice"),
        (b"[" * 100_000, b"", None, "is not JSON"),
        (b"\xff\xfe", b"", None, "is not JSON"),
        (b"[]", b"", None, "does not hold a JSON object"),
        (b'{"t": NaN}', b"", None, "NaN is not a number"),
    ],
)
def test_a_bad_header(
    tmp_path: Path, header: Any, data: bytes, length: int | None, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read_header(write_file(tmp_path / "m.safetensors", header, data, length))
    assert "m.safetensors" in str(caught.value)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="ends inside its header"):
        read_header(tmp_path / "m.safetensors")


def test_a_huge_header_that_is_really_there_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 10 << 30))
        file.truncate(11 << 30)  # sparse: takes no disk
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from psyche_p2p.errors import ModelError\n"
        "from psyche_p2p.model.tensor_file import read_header\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    read_header(Path(sys.argv[1]))\n"
        "except ModelError as error:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    grown_kib, _, message = result.stdout.partition(" ")
    assert "claims 10737418240 bytes" in message
    assert int(grown_kib) < 4 * MAX_HEADER_BYTES >> 10


@pytest.mark.parametrize("size", [0, 7, 100, -1000, -1])
def test_truncated_tensors(tmp_path: Path, size: int) -> None:
    folder = make(tmp_path)
    path = folder / "model.safetensors"
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    with pytest.raises(ModelError, match=r"model.safetensors"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "is not a checkpoint: it has no config.json"),
        ("model.safetensors", "holds neither model.safetensors nor"),
    ],
)
def test_missing_files(tmp_path: Path, name: str, message: str) -> None:
    folder = make(tmp_path)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=message):
        load(folder)


def test_a_pickle_is_not_even_looked_at(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save(initial_state(CONFIG, 1), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds neither"):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "generation_config.json"])
def test_one_flipped_bit_is_noticed_by_hash(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "c"
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1))
    data = bytearray((folder / name).read_bytes())
    position = len(data) - 4 if name == "model.safetensors" else data.index(b":") + 1
    data[position] ^= 1 if name == "model.safetensors" else 0x20 ^ 0x09  # a blank to a tab
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"{name}' is not what was written: its hash differs"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=2), "has format 2, not 1"),
        (lambda m: m["files"].pop("model.safetensors"), "is not in psyche.json"),
        (lambda m: m["files"].update(gone=m["files"]["config.json"]), "gone' is missing"),
        (lambda m: m["files"].update({"../x": {}}), "is not the name of a file"),
        (lambda m: m["files"]["config.json"].update(size_bytes=3), "bytes, 3 were written"),
        (lambda m: m["files"]["config.json"].update(size_bytes=-3), "has no sensible size"),
        (lambda m: m["files"]["config.json"].update(blake3="00"), "a hash has 32 bytes"),
        (lambda m: m.update(files=[]), "is not a checkpoint's manifest"),
        (lambda m: m.pop("param_root"), "is not a checkpoint's manifest"),
        (lambda m: m.update(suffix_roots=[3]), "is not a checkpoint's manifest"),
    ],
)
def test_a_damaged_manifest(tmp_path: Path, change: Any, message: str) -> None:
    folder = tmp_path / "c"
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1))
    change_json(folder / "psyche.json", change)
    with pytest.raises(ModelError, match=message):
        open_checkpoint(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_damage_is_a_readable_error_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "fuzzed"
    if not folder.exists():
        write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1))
        (folder / "psyche.json").unlink()
    name = data.draw(st.sampled_from(["config.json", "model.safetensors"]))
    sound = (folder / name).read_bytes()
    damaged = bytearray(sound)
    reach = min(len(sound), 4000)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(damaged)
    with suppress(PsycheError):  # any other exception is a bug
        load(folder)
    (folder / name).write_bytes(sound)
