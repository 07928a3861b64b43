"""Plain and fast kernels: the same bits at any shape, sparsity and number of peers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from psyche_p2p.codec import ChunkGrid, ChunkGroup, TensorGrid, TensorSpec
from psyche_p2p.ids import Tier
from psyche_p2p.optim.choose import _load_fast, choose_kernels
from psyche_p2p.optim.chunks import blocks_of, read_chunks
from psyche_p2p.optim.fast import FastKernels, int32_vote_bound
from psyche_p2p.optim.grids import ModelGrids
from psyche_p2p.optim.interface import Contribution, Tensors
from psyche_p2p.optim.kernels import Taken
from psyche_p2p.optim.plain import PlainKernels
from psyche_p2p.optim.votes import GroupVotes, PeerVotes, collect_votes
from tests.codec.builders import make_coefficients

FAST, PLAIN = FastKernels(), PlainKernels()


@given(
    rows=st.integers(1, 64),
    columns=st.integers(1, 64),
    top_k=st.sampled_from([1, 2, 8, 31, 64, 4096]),
    zeros=st.sampled_from([0.0, 0.3, 0.99, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_both_take_the_same(rows: int, columns: int, top_k: int, zeros: float, seed: int) -> None:
    """From two tensors of 3 x 2 chunks, side by side in memory as the model has them."""
    shape = (3 * rows, 2 * columns)
    tensors = [TensorGrid(name, shape, rows, columns) for name in "ab"]
    (group,) = ChunkGrid(tuple(tensors)).groups
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((2, *shape)).astype(np.float32)
    values[generator.random(values.shape) < zeros] = 0
    before = {name: torch.from_numpy(part) for name, part in zip("ab", values, strict=True)}
    fast_rest, plain_rest = ({name: t.clone() for name, t in before.items()} for _ in range(2))
    fast = FAST.take_largest(fast_rest, group, top_k)
    plain = PLAIN.take_largest(plain_rest, group, top_k)
    for field in ("counts", "positions", "values"):
        np.testing.assert_array_equal(getattr(fast, field), getattr(plain, field), err_msg=field)
        assert getattr(fast, field).dtype == getattr(plain, field).dtype
    assert all(torch.equal(fast_rest[name], plain_rest[name]) for name in "ab")
    _require_taken(_chunks(before, group), fast, _chunks(fast_rest, group), top_k)


@given(
    rows=st.integers(1, 64),
    columns=st.integers(1, 64),
    top_k=st.sampled_from([1, 8, 40]),
    peers=st.integers(0, 5),
    dead=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_both_apply_the_same(
    rows: int, columns: int, top_k: int, peers: int, dead: float, seed: int
) -> None:
    grids = ModelGrids(
        [TensorSpec("w", (3 * rows, 2 * columns))], chunk_size=64, max_tier=0, tier=Tier(0)
    )
    generator = np.random.default_rng(seed)
    contributions = [
        Contribution(Tier(0), make_coefficients(grids.own, generator, top_k=top_k, dead=dead))
        for _ in range(peers)
    ]
    start = torch.from_numpy(
        generator.integers(-(1 << 20), 1 << 20, (3 * rows, 2 * columns)).astype(np.float32)
    ) / (1 << 22)
    fast, plain = start.clone(), start.clone()
    (votes,) = collect_votes(grids, contributions)
    FAST.apply_votes({"w": fast}, votes, np.float32(0.0123))
    PLAIN.apply_votes({"w": plain}, votes, np.float32(0.0123))
    assert torch.equal(fast, plain)
    if dead == 1.0 or peers == 0:
        assert torch.equal(fast, start)


@pytest.mark.parametrize("beyond", [0, 1])
def test_the_largest_allowed_votes_do_not_overflow(beyond: int) -> None:
    """All votes on one coefficient, at the int32 bound and (by the wider path) beyond it."""
    grids = ModelGrids([TensorSpec("w", (64, 64))], chunk_size=64, max_tier=0, tier=Tier(0))
    group = grids.own.groups[0]
    bound = int32_vote_bound(group)
    assert bound == 4096
    votes = GroupVotes(group, (_pile(bound + beyond, position=63 * 64 + 63),))
    fast, plain = torch.zeros(64, 64), torch.zeros(64, 64)
    FAST.apply_votes({"w": fast}, votes, np.float32(1))
    PLAIN.apply_votes({"w": plain}, votes, np.float32(1))
    assert torch.equal(fast, plain)
    assert fast.abs().min() == 1


def test_the_choice_falls_back_to_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_kernels(torch.device("cpu")).name == "fast"
    assert choose_kernels(torch.device("cuda")).name == "plain"
    monkeypatch.setitem(sys.modules, "psyche_p2p.optim.fast", None)
    _load_fast.cache_clear()
    assert choose_kernels(torch.device("cpu")).name == "plain"
    _load_fast.cache_clear()


def _pile(votes: int, position: int) -> PeerVotes:
    return PeerVotes(
        starts=np.zeros(1, np.int64),
        ends=np.full(1, votes),
        positions=np.full(votes, position, np.uint16),
        weights=np.ones(votes, np.int64),
        has_chunk=np.ones(1, np.bool_),
    )


def _chunks(tensors: Tensors, group: ChunkGroup) -> NDArray[np.float32]:
    """All chunks of the group, flattened."""
    parts = [read_chunks(tensors[block.tensor.name], block) for block in blocks_of(group)]
    flat: NDArray[np.float32] = torch.cat(parts).flatten(1).numpy()
    return flat


def _require_taken(
    before: NDArray[np.float32], taken: Taken, rest: NDArray[np.float32], top_k: int
) -> None:
    """What was taken is at least as large as all that was left, and nothing was lost."""
    first = 0
    for chunk, count in enumerate(taken.counts):
        own = slice(first, first + int(count))
        first += int(count)
        assert count == min(top_k, np.count_nonzero(before[chunk]))
        assert (np.diff(taken.positions[own].astype(int)) > 0).all()
        if count:
            assert np.abs(taken.values[own]).min() >= np.abs(rest[chunk]).max()
        rest[chunk, taken.positions[own]] += taken.values[own]
    np.testing.assert_array_equal(rest, before)
