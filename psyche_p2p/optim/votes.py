"""All peers' signs of one round, brought together on one peer's chunk grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.codec import (
    ChunkGrid,
    ChunkGroup,
    Coefficients,
    GroupCoefficients,
    Payload,
    scale_integers,
)
from psyche_p2p.errors import ConfigError, ModelError
from psyche_p2p.optim.grids import ModelGrids
from psyche_p2p.optim.interface import Contribution


@dataclass(frozen=True, slots=True, eq=False)
class PeerVotes:
    """One peer's coefficients of one group: those of chunk i are `starts[i] <= j < ends[i]`."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    positions: NDArray[np.uint16]
    weights: NDArray[np.int64] | NDArray[np.float64]
    """What each coefficient adds: an integer, except for payloads that are for study only."""
    has_chunk: NDArray[np.bool_]
    """Whether the peer's tier holds the chunk at all, live or not."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupVotes:
    """All peers' coefficients of one group."""

    group: ChunkGroup
    peers: tuple[PeerVotes, ...]

    def count_contributors(self) -> NDArray[np.int64]:
        """For every chunk, how many peers' tiers hold it."""
        zero = np.zeros(self.group.chunks, np.int64)
        return sum((peer.has_chunk.astype(np.int64) for peer in self.peers), zero)

    def most_weight(self) -> int:
        """The largest sum of absolute weights that any chunk receives."""
        totals = np.zeros(self.group.chunks, np.int64)
        for peer in self.peers:
            running = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.abs(peer.weights))])
            totals += (running[peer.ends] - running[peer.starts]).astype(np.int64)
        return int(totals.max(initial=0))


def collect_votes(
    grids: ModelGrids, contributions: Sequence[Contribution]
) -> tuple[GroupVotes, ...]:
    """The votes on this peer's chunks; those on chunks it does not hold are left out."""
    _require_one_payload(contributions)
    for contribution in contributions:
        _require_fit(grids.at(contribution.tier), contribution)
    return tuple(
        GroupVotes(group, tuple(_peer_votes(grids, part, index) for part in contributions))
        for index, group in enumerate(grids.own.groups)
    )


def require_exact(votes: GroupVotes, bound: int) -> None:
    """Refuse more votes on one chunk than the arithmetic holds exactly."""
    most = votes.most_weight()
    if most > bound:
        group = votes.group
        raise ConfigError(
            f"{most} votes on one chunk of {group.rows} x {group.columns}, "
            f"exact arithmetic holds {bound}",
            "lower optimizer.distro.top_k or members.max_members",
        )


def _peer_votes(grids: ModelGrids, contribution: Contribution, index: int) -> PeerVotes:
    group = contribution.coefficients.groups[index]
    source = grids.chunk_sources(contribution.tier)[index]
    has_chunk, offsets = source >= 0, group.offsets()
    return PeerVotes(
        starts=np.where(has_chunk, offsets[source], 0),
        ends=np.where(has_chunk, offsets[source + 1], 0),
        positions=group.positions,
        weights=_weights(contribution.coefficients, group),
        has_chunk=has_chunk,
    )


def _weights(
    coefficients: Coefficients, group: GroupCoefficients
) -> NDArray[np.int64] | NDArray[np.float64]:
    if coefficients.payload is Payload.VALUES and group.values is not None:
        return group.values.astype(np.float64)
    signs = 1 - 2 * group.negative.astype(np.int64)
    if coefficients.payload is Payload.SCALED_SIGNS and group.scales is not None:
        return signs * np.repeat(scale_integers(group.scales), group.counts[group.live])
    return signs


def _require_one_payload(contributions: Sequence[Contribution]) -> None:
    payloads = {contribution.coefficients.payload for contribution in contributions}
    if len(payloads) > 1:
        names = ", ".join(sorted(payload.value for payload in payloads))
        raise ModelError(f"one round's contributions have different payloads: {names}")


def _require_fit(grid: ChunkGrid, contribution: Contribution) -> None:
    """The codec has checked all this; the compiled loops would write anywhere if it had not."""
    chunks = [group.chunks for group in grid.groups]
    found = [len(part.counts) for part in contribution.coefficients.groups]
    if chunks != found:
        raise ModelError(
            f"a contribution of {found} chunks does not fit tier {contribution.tier}, "
            f"which has {chunks}"
        )
    for group, part in zip(grid.groups, contribution.coefficients.groups, strict=True):
        entries = int(part.counts.sum(dtype=np.int64))
        if entries != len(part.positions) or int(part.positions.max(initial=0)) >= group.area:
            raise ModelError("a contribution's positions do not fit its chunks")
