"""The grid covers every element once, and tiers are subsets of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.codec import GroupMember, TensorGrid, TensorSpec, build_grid, map_chunks
from psyche_p2p.errors import ModelError
from tests.codec.builders import make_grid


@given(
    shape=st.lists(st.integers(1, 300), min_size=0, max_size=2).map(tuple),
    chunk_size=st.sampled_from([8, 16, 32, 64]),
)
def test_chunks_tile_any_shape(shape: tuple[int, ...], chunk_size: int) -> None:
    (tensor,) = build_grid([TensorSpec("w", shape)], chunk_size=chunk_size).tensors
    assert tensor.chunks * tensor.chunk_rows * tensor.chunk_columns == int(np.prod(shape))
    assert max(tensor.chunk_rows, tensor.chunk_columns) <= chunk_size


def test_divisors_where_the_chunk_size_does_not_divide() -> None:
    shapes = {"a": (100, 64), "b": (50257, 7), "c": (48,), "d": ()}
    grid = build_grid([TensorSpec(name, shape) for name, shape in shapes.items()], chunk_size=64)
    cut = {tensor.name: (tensor.chunk_rows, tensor.chunk_columns) for tensor in grid.tensors}
    assert cut == {"a": (50, 64), "b": (29, 7), "c": (1, 48), "d": (1, 1)}


def test_the_chunk_divides_the_smallest_tier() -> None:
    specs = [TensorSpec("down", (64, 96), tier_axis=1)]
    assert build_grid(specs, chunk_size=64).tensors[0].chunk_columns == 48
    smallest = build_grid(specs, chunk_size=64, max_tier=3)
    assert smallest.tensors[0].chunk_columns == 12
    assert build_grid(specs, chunk_size=64, max_tier=3, tier=2).tensors[0].shape == (64, 24)


def test_groups_do_not_depend_on_the_order_of_tensors() -> None:
    grid = make_grid()
    shapes = [(group.rows, group.columns) for group in grid.groups]
    assert shapes == [(16, 16), (1, 16), (1, 1)]
    again = build_grid(
        [TensorSpec(tensor.name, tensor.shape) for tensor in reversed(grid.tensors)], chunk_size=16
    )
    assert [group.chunks for group in again.groups] == [group.chunks for group in grid.groups]


@pytest.mark.parametrize("source_tier", [0, 1, 2])
@pytest.mark.parametrize("target_tier", [0, 1, 2])
def test_chunks_of_one_tier_are_found_in_another(source_tier: int, target_tier: int) -> None:
    """Every chunk keeps its row and column in its tensor."""
    source, target = make_grid(source_tier), make_grid(target_tier)
    for group, other, mapped in zip(
        source.groups, target.groups, map_chunks(source, target), strict=True
    ):
        corners, wanted = _corners(group.members), _corners(other.members)
        for chunk, index in enumerate(mapped):
            if index >= 0:
                assert corners[chunk] == wanted[index]
            else:
                assert corners[chunk] not in wanted
        held = mapped[mapped >= 0]
        assert (np.diff(held) > 0).all()
        if source_tier <= target_tier:
            assert len(held) == other.chunks


def test_grids_of_different_models_are_refused() -> None:
    with pytest.raises(ModelError, match="not tiers of one model"):
        map_chunks(make_grid(), make_grid(chunk_size=8))
    one, two = (build_grid([TensorSpec(name, (8, 8))], chunk_size=8) for name in "ab")
    with pytest.raises(ModelError, match="in one grid and not in the other"):
        map_chunks(one, two)


@pytest.mark.parametrize(
    ("specs", "arguments", "cause"),
    [
        ([TensorSpec("w", (2, 3, 4))], {}, "neither a vector nor a matrix"),
        ([TensorSpec("w", (0, 3))], {}, "neither a vector nor a matrix"),
        ([TensorSpec("w", (6, 3), tier_axis=0)], {"max_tier": 2}, "cannot be halved 2 times"),
        ([TensorSpec("w", (8, 8))], {"tier": 1}, "tier 1 is not allowed"),
        ([TensorSpec("w", (8, 8)), TensorSpec("w", (8, 8))], {}, "each once"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    specs: list[TensorSpec], arguments: dict[str, int], cause: str
) -> None:
    with pytest.raises(ModelError, match=cause):
        build_grid(specs, chunk_size=8, **arguments)


@pytest.mark.parametrize("chunk", [(3, 8), (0, 8), (-1, 8), (128, 8)])
def test_a_header_that_cuts_wrongly_is_refused(chunk: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match="cannot be cut"):
        TensorGrid("w", (128, 8), *chunk)


def _corners(members: tuple[GroupMember, ...]) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    for member in members:
        tensor = member.tensor
        assert member.first == len(found)
        found += [
            (tensor.name, row, column)
            for row in range(tensor.grid_rows)
            for column in range(tensor.grid_columns)
        ]
    return found
