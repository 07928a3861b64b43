"""First parameters: golden bits, the shape of a bell, and slices that are prefixes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import Tier
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.tiers import slice_state
from tests.model.configs import tiny_config

EMBEDDING = "model.embed_tokens.weight"


def test_first_weights_are_part_of_the_protocol() -> None:
    first = initial_state(tiny_config(), seed=42)[EMBEDDING].flatten()[:4]
    assert first.numpy().astype(">f4").tobytes().hex() == GOLDEN


def test_weights_are_bell_shaped_with_the_deviation_of_the_config() -> None:
    config = tiny_config(vocab_size=20_000, init_std=0.03)
    state = initial_state(config, seed=1)
    weights = state[EMBEDDING].numpy().astype(np.float64)
    assert abs(weights.mean()) < 1e-4
    assert weights.std() == pytest.approx(0.03, rel=0.01)
    assert np.mean(np.abs(weights) < 0.03) == pytest.approx(0.67, abs=0.01)
    assert np.abs(weights).max() < 0.03 * 3.5
    # added to the residual stream by each of two layers, twice
    down = state["model.layers.1.mlp.down_proj.weight"]
    assert down.std().item() == pytest.approx(0.03 / 2, rel=0.05)
    assert torch.equal(state["model.norm.weight"], torch.ones(32))


def test_a_long_tensor_is_one_stream() -> None:
    long = initial_state(tiny_config(vocab_size=40_000), seed=1)[EMBEDDING]
    short = initial_state(tiny_config(vocab_size=100), seed=1)[EMBEDDING]
    assert long.numel() > 1 << 20
    assert torch.equal(long[:100], short)
    assert len(torch.unique(long[-1000:], dim=0)) == 1000


def test_seeds_and_tensors_differ() -> None:
    state, other = initial_state(tiny_config(), seed=1), initial_state(tiny_config(), seed=2)
    matrices = [tensor for tensor in state.values() if tensor.dim() == 2]
    matrices += [tensor for tensor in other.values() if tensor.dim() == 2]
    assert len({hash_bytes(matrix.numpy().tobytes()) for matrix in matrices}) == len(matrices)


@pytest.mark.parametrize("tier", [1, 2])
def test_a_sliced_model_starts_as_the_prefix_of_the_full_one(tier: int) -> None:
    sliced = initial_state(tiny_config(), 3, Tier(tier))
    expected = slice_state(initial_state(tiny_config(), 3), 64 >> tier)
    assert sliced.keys() == expected.keys()
    assert all(torch.equal(sliced[name], expected[name]) for name in expected)


GOLDEN = "3cb7d7023d1098013bd120b8bcdc94bc"
