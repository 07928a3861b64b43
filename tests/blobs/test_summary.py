"""The numbers about a blob, against ones counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psyche_p2p.blobs import (
    Update,
    read_layout,
    read_update,
    seal_dense,
)
from psyche_p2p.blobs.compare import compare_updates
from psyche_p2p.blobs.summary import (
    energy_by_frequency,
    summarise_dense,
    summarise_update,
    total_bits,
)
from psyche_p2p.codec import (
    SCALE_UNIT,
    ChunkGrid,
    Coefficients,
    GroupCoefficients,
    Payload,
    TensorGrid,
    compare_coefficients,
    map_chunks,
)
from psyche_p2p.wire import BlobKind
from tests.blobs.builders import SHARED, make_tiny_update, make_update
from tests.codec.builders import make_grid


def update_of(payload: Payload, **arrays: Any) -> Update:
    return read_update(read_layout(make_tiny_update(payload, **arrays).to_bytes()))


def test_each_tensor_is_counted_on_its_own() -> None:
    a, b = summarise_update(update_of(Payload.SIGNS))
    assert (a.name, a.shape, a.chunk, a.chunks, a.live, a.entries) == ("a", (2, 4), (2, 4), 1, 1, 2)
    assert (b.name, b.shape, b.chunk, b.chunks, b.live, b.entries) == ("b", (4, 4), (2, 4), 2, 1, 1)
    assert (a.positive, a.negative, b.positive, b.negative) == (1, 1, 0, 1)
    assert a.norm == pytest.approx(2**0.5)
    assert b.norm == 1
    assert (a.live_share, b.live_share) == (1, 0.5)
    # log2 of the ways to choose 2 of 8 places, and two signs
    assert a.bound_bits == pytest.approx(np.log2(28) + 2)
    # which one of 2 chunks, 1 of 8 places, a sign
    assert b.bound_bits == pytest.approx(1 + 3 + 1)


def test_norms_use_what_was_sent() -> None:
    values = np.array([3, -4, -2], np.float32)
    a, b = summarise_update(update_of(Payload.VALUES, values=values))
    assert (a.norm, b.norm) == (5, 2)
    scales = np.array([0, 8], np.uint8)  # 8 << 0 and 8 << 1 units
    a, b = summarise_update(update_of(Payload.SCALED_SIGNS, scales=scales))
    assert a.norm == pytest.approx(8 * SCALE_UNIT * 2**0.5)
    assert b.norm == pytest.approx(16 * SCALE_UNIT)


def test_energy_lies_where_the_coefficients_are() -> None:
    energy = energy_by_frequency(update_of(Payload.VALUES, values=np.array([3, -4, -2], "f4")))
    np.testing.assert_array_equal(energy, [[9, 0, 0, 4], [0, 16, 0, 0]])


def test_the_totals_are_those_of_the_file() -> None:
    sealed = make_update()
    update = read_update(read_layout(sealed.to_bytes()))
    bits, bound = total_bits(update)
    assert bits == 8 * len(read_layout(sealed.to_bytes()).payload)
    assert bits > bound > 0
    summaries = summarise_update(update)
    assert sum(summary.entries for summary in summaries) == update.coefficients.entries
    assert sum(summary.chunks for summary in summaries) == update.grid.chunks
    assert [summary.name for summary in summaries] == sorted(t.name for t in update.grid.tensors)


def test_whole_tensors_have_their_extremes() -> None:
    array = np.array([[3, -4], [0, 0]], np.float32)
    sealed = seal_dense(BlobKind.PARAMETERS, SHARED, {"w": array})
    (summary,) = summarise_dense(read_layout(sealed.to_bytes()))
    assert (summary.least, summary.greatest, summary.norm) == (-4, 3, 5)
    assert (summary.shape, summary.dtype, summary.size_bytes) == ((2, 2), "float32", 16)


def test_an_update_is_all_alike_with_itself() -> None:
    update = read_update(read_layout(make_update().to_bytes()))
    for overlap in compare_updates(update, update).values():
        assert overlap.same_sign == overlap.common
        assert overlap.only_first == overlap.only_second == 0


def test_differences_by_tensor_add_up_to_the_codecs_own() -> None:
    first, second = (read_update(read_layout(make_update(seed).to_bytes())) for seed in (1, 2))
    overlaps = compare_updates(first, second).values()
    whole = compare_coefficients(first.grid, first.coefficients, second.coefficients)
    assert whole.common > 0
    for field in ("common", "same_sign", "only_first", "only_second"):
        assert sum(getattr(overlap, field) for overlap in overlaps) == getattr(whole, field)


def test_a_smaller_tier_is_compared_where_both_have_chunks() -> None:
    full = read_update(read_layout(make_update(3).to_bytes()))
    grid = make_grid(tier=1)
    groups = tuple(
        _keep(group, indices)
        for group, indices in zip(
            full.coefficients.groups, map_chunks(grid, full.grid), strict=True
        )
    )
    part = replace(full, grid=grid, coefficients=Coefficients(Payload.SIGNS, 8, groups))
    overlaps = compare_updates(full, part)
    assert sum(overlap.common for overlap in overlaps.values()) == part.coefficients.entries
    assert part.coefficients.entries < full.coefficients.entries
    for overlap in overlaps.values():
        assert overlap.same_sign == overlap.common
        assert overlap.only_first == overlap.only_second == 0


def test_tensors_cut_differently_are_not_compared() -> None:
    update = update_of(Payload.SIGNS)
    other = ChunkGrid((TensorGrid("a", (2, 4), 2, 4), TensorGrid("b", (4, 4), 4, 2)))
    groups = (
        GroupCoefficients(np.array([1], "u2"), np.array([0], "u2"), np.array([True])),
        GroupCoefficients(np.array([1, 0], "u2"), np.array([0], "u2"), np.array([True])),
    )
    ordered = groups if other.groups[0].members[0].tensor.name == "a" else groups[::-1]
    second = replace(update, grid=other, coefficients=Coefficients(Payload.SIGNS, 2, ordered))
    overlaps = compare_updates(update, second)
    assert list(overlaps) == ["a"]
    assert (overlaps["a"].common, overlaps["a"].same_sign) == (1, 0)
    assert overlaps["a"].sign_agreement == 0


def _keep(group: GroupCoefficients, chunks: NDArray[np.int64]) -> GroupCoefficients:
    """Only these chunks of a group, in this order."""
    offsets = group.offsets()
    entries = np.concatenate([np.arange(offsets[chunk], offsets[chunk + 1]) for chunk in chunks])
    return GroupCoefficients(
        group.counts[chunks], group.positions[entries], group.negative[entries]
    )
