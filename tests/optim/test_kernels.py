"""Plain and fast kernels: the same bits at any shape, sparsity and number of peers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.codec import TensorSpec
from psyche_p2p.ids import Tier
from psyche_p2p.optim import kernels
from psyche_p2p.optim.fast import FastKernels, int32_vote_bound
from psyche_p2p.optim.interface import Contribution
from psyche_p2p.optim.kernels import choose_kernels
from psyche_p2p.optim.plain import PlainKernels
from psyche_p2p.optim.votes import GroupVotes, ModelGrids, PeerVotes, collect_votes
from tests.codec.builders import make_coefficients

FAST, PLAIN = FastKernels(), PlainKernels()


@given(
    shape=st.tuples(st.integers(1, 40), st.sampled_from([1, 3, 8, 13, 32, 64]), st.integers(1, 64)),
    top_k=st.sampled_from([1, 2, 8, 31, 64, 4096]),
    zeros=st.sampled_from([0.0, 0.3, 0.99, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_both_take_the_same(
    shape: tuple[int, int, int], top_k: int, zeros: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    chunks = generator.standard_normal(shape).astype(np.float32)
    chunks[generator.random(shape) < zeros] = 0
    fast_rest, plain_rest = torch.from_numpy(chunks.copy()), torch.from_numpy(chunks.copy())
    fast, plain = FAST.take_largest(fast_rest, top_k), PLAIN.take_largest(plain_rest, top_k)
    for field in ("counts", "positions", "values"):
        np.testing.assert_array_equal(getattr(fast, field), getattr(plain, field), err_msg=field)
        assert getattr(fast, field).dtype == getattr(plain, field).dtype
    assert torch.equal(fast_rest, plain_rest)
    _require_taken(chunks, fast.counts, fast.positions, fast.values, fast_rest, top_k)


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
    kernels._load_fast.cache_clear()
    assert choose_kernels(torch.device("cpu")).name == "plain"
    kernels._load_fast.cache_clear()


def _pile(votes: int, position: int) -> PeerVotes:
    return PeerVotes(
        starts=np.zeros(1, np.int64),
        ends=np.full(1, votes),
        positions=np.full(votes, position, np.uint16),
        weights=np.ones(votes, np.int64),
        has_chunk=np.ones(1, np.bool_),
    )


def _require_taken(
    chunks: np.ndarray[tuple[int, int, int], np.dtype[np.float32]],
    counts: np.ndarray[tuple[int, ...], np.dtype[np.uint16]],
    positions: np.ndarray[tuple[int, ...], np.dtype[np.uint16]],
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    rest: torch.Tensor,
    top_k: int,
) -> None:
    """What was taken is at least as large as all that was left, and nothing was lost."""
    flat, left = chunks.reshape(len(chunks), -1), rest.numpy().reshape(len(chunks), -1).copy()
    first = 0
    for chunk, count in enumerate(counts):
        own = slice(first, first + int(count))
        first += int(count)
        assert count == min(top_k, np.count_nonzero(flat[chunk]))
        assert (np.diff(positions[own].astype(int)) > 0).all()
        if count:
            assert np.abs(values[own]).min() >= np.abs(left[chunk]).max()
        left[chunk, positions[own]] += values[own]
    np.testing.assert_array_equal(left, flat)
