"""A small model, and peers of several tiers that train it on random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from psyche_p2p.codec import TensorSpec
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import Tier
from psyche_p2p.optim.chunks import narrow_to
from psyche_p2p.optim.grids import ModelGrids
from psyche_p2p.optim.interface import Contribution, Tensors
from tests.codec.builders import make_coefficients

SPECS = (
    TensorSpec("embed", (96, 64)),
    TensorSpec("ffn.down", (64, 256), tier_axis=1),
    TensorSpec("ffn.gate", (256, 64), tier_axis=0),
    TensorSpec("head", (29, 64)),
    TensorSpec("norm", (64,)),
    TensorSpec("scale", ()),
)
CHUNK_SIZE, MAX_TIER = 32, 2


def make_grids(tier: int = 0) -> ModelGrids:
    return ModelGrids(SPECS, chunk_size=CHUNK_SIZE, max_tier=MAX_TIER, tier=Tier(tier))


def make_parameters(tier: int = 0, seed: int = 0) -> dict[str, Tensor]:
    """The same values at every tier, as far as it reaches.

    From integers: torch.randn gives other bits where it has other vector instructions.
    """
    generator = np.random.default_rng(seed)
    shapes = {tensor.name: tensor.shape for tensor in make_grids(tier).own.tensors}
    full = {spec.name: _draw(generator, spec.shape) for spec in SPECS}
    return {name: narrow_to(full[name], shape).clone() for name, shape in shapes.items()}


def make_contributions(
    grids: ModelGrids, tiers: Sequence[int], seed: int, top_k: int = 8
) -> list[Contribution]:
    """One random update a peer."""
    generator = np.random.default_rng(seed)
    return [
        Contribution(Tier(tier), make_coefficients(grids.at(Tier(tier)), generator, top_k=top_k))
        for tier in tiers
    ]


def hash_parameters(parameters: Tensors, tier: int = MAX_TIER) -> str:
    """The hash of a tier's part of the parameters."""
    parts = []
    for tensor in make_grids(tier).own.tensors:
        part = narrow_to(parameters[tensor.name].detach().cpu(), tensor.shape)
        parts += [tensor.name.encode(), part.contiguous().numpy().tobytes()]
    return hash_parts("test parameters", *parts).hex()


def _draw(generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    integers = generator.integers(-(1 << 20), 1 << 20, shape)
    return torch.from_numpy(np.asarray(integers, np.float32)) / (1 << 20)
