"""A sparse update in memory: which coefficients of which chunks, and their signs or values.

A chunk that has nothing to say has a count of zero and takes no part: a sign for a zero coefficient
would be a vote (docs/design.md, "Live chunks").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.codec.grid import ChunkGrid, ChunkGroup


class Payload(Enum):
    """What is sent for a chosen coefficient. The values are protocol names."""

    SIGNS = "signs"
    """One bit each."""
    SCALED_SIGNS = "scaled_signs"
    """One bit each, and one byte of magnitude for each live chunk."""
    VALUES = "values"
    """float32 each (for study: sums of floats depend on their order)."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupCoefficients:
    """One group's chosen coefficients, chunk after chunk, positions rising within each."""

    counts: NDArray[np.uint16]
    """For every chunk of the group, how many coefficients follow; 0 for a dead chunk."""
    positions: NDArray[np.uint16]
    """Row-major position within the chunk of every coefficient."""
    negative: NDArray[np.bool_]
    """The sign of every coefficient."""
    scales: NDArray[np.uint8] | None = None
    """For SCALED_SIGNS: the magnitude's code (`scales.py`) of every live chunk."""
    values: NDArray[np.float32] | None = None
    """For VALUES: every coefficient itself; `negative` repeats its sign."""

    @property
    def live(self) -> NDArray[np.bool_]:
        return self.counts > 0

    def offsets(self) -> NDArray[np.int64]:
        """Where each chunk's coefficients begin, and after the last chunk where they end."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts, dtype=np.int64)])

    def chunk_of_each(self) -> NDArray[np.int64]:
        """The chunk that each coefficient belongs to."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int64), self.counts)

    def keys(self, area: int) -> NDArray[np.int64]:
        """Chunk and position as one strictly rising number."""
        return self.chunk_of_each() * area + self.positions


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """A whole sparse update; its groups are those of the grid it was made for."""

    payload: Payload
    top_k: int
    groups: tuple[GroupCoefficients, ...]

    @property
    def entries(self) -> int:
        return sum(len(group.positions) for group in self.groups)


@dataclass(frozen=True, slots=True)
class Overlap:
    """How alike two updates on one grid are."""

    common: int
    """Coefficients that both chose."""
    same_sign: int
    """Of those, how many have the same sign."""
    only_first: int
    only_second: int

    @property
    def sign_agreement(self) -> float:
        """The share of common coefficients with equal signs; 0 where nothing is common."""
        return self.same_sign / self.common if self.common else 0.0


def compare_coefficients(grid: ChunkGrid, first: Coefficients, second: Coefficients) -> Overlap:
    """Count the common coefficients of two updates and their equal signs."""
    pairs = zip(grid.groups, first.groups, second.groups, strict=True)
    parts = [_compare_group(group, a, b) for group, a, b in pairs]
    common = sum(part[0] for part in parts)
    same = sum(part[1] for part in parts)
    return Overlap(common, same, first.entries - common, second.entries - common)


def _compare_group(
    group: ChunkGroup, first: GroupCoefficients, second: GroupCoefficients
) -> tuple[int, int]:
    _, in_first, in_second = np.intersect1d(
        first.keys(group.area), second.keys(group.area), assume_unique=True, return_indices=True
    )
    same = first.negative[in_first] == second.negative[in_second]
    return len(in_first), int(np.count_nonzero(same))
