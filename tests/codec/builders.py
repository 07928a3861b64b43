"""Grids and random updates for the tests of codec and optim."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.codec import (
    ChunkGrid,
    ChunkGroup,
    Coefficients,
    GroupCoefficients,
    Payload,
    TensorSpec,
    build_grid,
)

SPECS = (
    TensorSpec("embed", (96, 32)),
    TensorSpec("ffn.down", (32, 128), tier_axis=1),
    TensorSpec("ffn.gate", (128, 32), tier_axis=0),
    TensorSpec("ffn.up", (128, 32), tier_axis=0),
    TensorSpec("head", (29, 32)),
    TensorSpec("norm", (32,)),
    TensorSpec("gate_scale", ()),
)


def make_grid(tier: int = 0, chunk_size: int = 16) -> ChunkGrid:
    """A small model with matrices, a vector, a scalar, an awkward prime and tiers 0 to 2."""
    return build_grid(SPECS, chunk_size=chunk_size, max_tier=2, tier=tier)


def make_coefficients(
    grid: ChunkGrid,
    generator: np.random.Generator,
    *,
    payload: Payload = Payload.SIGNS,
    top_k: int = 8,
    dead: float = 0.1,
    short: float = 0.05,
) -> Coefficients:
    """A random update with some dead and some short chunks."""
    groups = tuple(
        _make_group(group, generator, payload, group.sent_per_chunk(top_k), dead, short)
        for group in grid.groups
    )
    return Coefficients(payload, top_k, groups)


def assert_same(first: Coefficients, second: Coefficients) -> None:
    """Equal in every array."""
    assert (first.payload, first.top_k) == (second.payload, second.top_k)
    for a, b in zip(first.groups, second.groups, strict=True):
        for field in ("counts", "positions", "negative", "scales", "values"):
            left, right = getattr(a, field), getattr(b, field)
            assert (left is None) == (right is None), field
            if left is not None:
                assert left.dtype == right.dtype, field
                np.testing.assert_array_equal(left, right, err_msg=field)


def _make_group(
    group: ChunkGroup,
    generator: np.random.Generator,
    payload: Payload,
    full: int,
    dead: float,
    short: float,
) -> GroupCoefficients:
    counts = np.full(group.chunks, full)
    if full > 1:
        is_short = generator.random(group.chunks) < short
        counts[is_short] = generator.integers(1, full, int(is_short.sum()))
    counts[generator.random(group.chunks) < dead] = 0
    positions = np.concatenate([_choose(generator, group.area, int(count)) for count in counts])
    negative = generator.random(len(positions)) < 0.5
    scales = values = None
    if payload is Payload.SCALED_SIGNS:
        scales = generator.integers(0, 256, int((counts > 0).sum())).astype(np.uint8)
    if payload is Payload.VALUES:
        magnitudes = generator.exponential(size=len(positions)) + 1e-3
        values = np.where(negative, -magnitudes, magnitudes).astype(np.float32)
    return GroupCoefficients(counts.astype(np.uint16), positions, negative, scales, values)


def _choose(generator: np.random.Generator, area: int, count: int) -> NDArray[np.uint16]:
    return np.sort(generator.choice(area, count, replace=False)).astype(np.uint16)
