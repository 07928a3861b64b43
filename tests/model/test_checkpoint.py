"""Checkpoints: what is written is read again, at every tier, by us and by transformers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from psyche_p2p.errors import ModelError, StorageError
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.checkpoint_writer import WriteOptions, write_checkpoint
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.param_root import param_root
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.model.tiers import merge_prefix, slice_state, tier_width
from psyche_p2p.model.transformer import model_from_state
from tests.model.configs import tiny_config
from tests.model.test_transformer import random_tokens, shaken_model

CONFIG = tiny_config()


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name


@pytest.mark.parametrize("max_shard_bytes", [1 << 30, 10_000, 1])
@pytest.mark.parametrize("tier", [0, 1, 2])
def test_what_is_written_is_read_again(tmp_path: Path, max_shard_bytes: int, tier: int) -> None:
    state = initial_state(CONFIG, 1, Tier(tier))
    options = WriteOptions(max_shard_bytes=max_shard_bytes)
    manifest = write_checkpoint(tmp_path / "c", CONFIG, state, Tier(tier), options)
    checkpoint = open_checkpoint(tmp_path / "c")
    assert (checkpoint.config, checkpoint.held_tier) == (CONFIG, tier)
    assert checkpoint.manifest == manifest
    assert schema_hash(checkpoint.schema) == manifest.schema_hash
    assert manifest.param_root == param_root(CONFIG, state, Tier(tier))
    assert_same(checkpoint.read_state(), state)
    sharded = len(list((tmp_path / "c").glob("*.safetensors"))) > 1
    assert sharded == (max_shard_bytes < 1 << 30)


@pytest.mark.parametrize("tier", [1, 2])
def test_a_universal_checkpoint_is_read_at_any_tier(tmp_path: Path, tier: int) -> None:
    state = initial_state(CONFIG, 1)
    write_checkpoint(tmp_path / "c", CONFIG, state)
    read = open_checkpoint(tmp_path / "c").read_state(Tier(tier))
    assert_same(read, slice_state(state, tier_width(CONFIG, Tier(tier))))


def test_merging_a_trained_slice_keeps_the_suffix(tmp_path: Path) -> None:
    full, trained = initial_state(CONFIG, 1), initial_state(CONFIG, 2)
    merged = merge_prefix(full, slice_state(trained, 32))
    assert_same(slice_state(merged, 32), slice_state(trained, 32))
    gate = "model.layers.1.mlp.gate_proj.weight"
    down = "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(merged[gate][32:], full[gate][32:])
    assert torch.equal(merged[down][:, 32:], full[down][:, 32:])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_number_formats(tmp_path: Path, dtype: Any) -> None:
    state = initial_state(CONFIG, 1)
    manifest = write_checkpoint(tmp_path / "c", CONFIG, state, options=WriteOptions(dtype=dtype))
    checkpoint = open_checkpoint(tmp_path / "c")
    assert checkpoint.dtype == dtype
    read = checkpoint.read_state()
    # the root is that of the parameters a reader has, not of what was given to the writer
    assert manifest.param_root == param_root(CONFIG, read)
    expected = {name: tensor.to(getattr(torch, dtype)).float() for name, tensor in state.items()}
    assert_same(read, expected)
    is_training_form = manifest.schema_hash == schema_hash(model_schema(CONFIG))
    assert is_training_form == (dtype == "float32")


def test_the_schema_is_the_same_for_every_slice(tmp_path: Path) -> None:
    hashes = set()
    for tier in (0, 1, 2):
        folder = tmp_path / str(tier)
        state = initial_state(CONFIG, 1, Tier(tier))
        write_checkpoint(folder, CONFIG, state, Tier(tier))
        hashes.add(schema_hash(open_checkpoint(folder).schema))
    assert hashes == {schema_hash(model_schema(CONFIG))}


def test_companions_are_taken_along(tmp_path: Path) -> None:
    first = tmp_path / "first"
    write_checkpoint(first, CONFIG, initial_state(CONFIG, 1))
    (first / "tokenizer.json").write_text('{"model": {}}')
    (first / "notes.txt").write_text("mine")
    options = WriteOptions(companions=first)
    write_checkpoint(tmp_path / "second", CONFIG, initial_state(CONFIG, 1), options=options)
    names = {path.name for path in (tmp_path / "second").iterdir()}
    assert "tokenizer.json" in names
    assert "notes.txt" not in names
    (tmp_path / "second" / "tokenizer.json").write_text('{"model": []}')
    with pytest.raises(ModelError, match=r"tokenizer.json' is not what was written"):
        open_checkpoint(tmp_path / "second")


def test_a_state_of_another_model_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has shape"):
        write_checkpoint(tmp_path / "c", CONFIG, initial_state(CONFIG, 1), Tier(1))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1))
    with pytest.raises(StorageError, match="exists already"):
        write_checkpoint(folder, CONFIG, initial_state(CONFIG, 2))
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 2), options=WriteOptions(replace=True))
    assert_same(open_checkpoint(folder).read_state(), initial_state(CONFIG, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_folder_that_is_no_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="is not a checkpoint"):
        write_checkpoint(
            tmp_path / "home", CONFIG, initial_state(CONFIG, 1), options=WriteOptions(replace=True)
        )
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


EXPORTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_word_embeddings": True, "rope_theta": 12345.0},
    "squared relu": {"architecture": "nanogpt", "activation": "relu_squared"},
    "biases": {"architecture": "nanogpt", "bias": True, "max_tier": 0},
}


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("shape", EXPORTS)
def test_transformers_loads_it_without_a_warning(
    tmp_path: Path, shape: str, plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    model = shaken_model(tiny_config(**EXPORTS[shape]), 1)
    options = WriteOptions(plain=plain, max_shard_bytes=20_000)
    write_checkpoint(tmp_path / "c", model.config, model.state_dict(), options=options)
    reference = load_reference(tmp_path / "c", caplog)
    tokens_bt = random_tokens(model.config, 2, 16)
    with torch.no_grad():
        assert (reference(tokens_bt).logits - model(tokens_bt)).abs().max() < 1e-5
    own_keys = [key for key in read_json(tmp_path / "c" / "config.json") if "matformer" in key]
    assert bool(own_keys) != plain
    assert (tmp_path / "c" / "psyche.json").exists() != plain


def test_transformers_loads_a_slice_as_a_smaller_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = shaken_model(CONFIG, 1)
    state = slice_state(full.state_dict(), 16)
    write_checkpoint(tmp_path / "c", CONFIG, state, Tier(2))
    reference = load_reference(tmp_path / "c", caplog)
    assert reference.config.intermediate_size == 16
    tokens_bt = random_tokens(CONFIG, 2, 16)
    with torch.no_grad():
        expected = full(tokens_bt, full.view_at(Tier(2)))
        assert (reference(tokens_bt).logits - expected).abs().max() < 1e-5


def test_we_load_what_transformers_writes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        rope_theta=500000.0,
    )
    reference = transformers.LlamaForCausalLM(config).eval()
    reference.save_pretrained(tmp_path / "c")
    checkpoint = open_checkpoint(tmp_path / "c")
    assert (checkpoint.held_tier, checkpoint.config.max_tier) == (0, 0)
    assert checkpoint.manifest is None
    model = model_from_state(checkpoint.config, checkpoint.read_state())
    tokens_bt = random_tokens(checkpoint.config, 2, 32)
    with torch.no_grad():
        assert (reference(tokens_bt).logits - model(tokens_bt)).abs().max() < 1e-5


def load_reference(folder: Path, caplog: pytest.LogCaptureFixture) -> Any:
    transformers = pytest.importorskip("transformers")
    logger = transformers.utils.logging.get_logger("transformers")
    logger.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reference, report = transformers.LlamaForCausalLM.from_pretrained(
                folder, output_loading_info=True
            )
    finally:
        logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.levelno >= 30] == []
    assert not any(report.values()), report
    return reference.eval()


def read_json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def test_every_setting_of_the_config_is_kept(tmp_path: Path) -> None:
    config = tiny_config(rope_theta=10001.5, init_std=0.013, rms_norm_eps=3e-6)
    write_checkpoint(tmp_path / "c", config, initial_state(config, 1))
    assert open_checkpoint(tmp_path / "c").config == config
