"""How alike two updates are: which coefficients both send, and with which signs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.blobs.summary import split_tensors
from psyche_p2p.blobs.update import Update
from psyche_p2p.codec import Overlap


def compare_updates(first: Update, second: Update) -> dict[str, Overlap]:
    """For every tensor cut alike in both: how alike the coefficients are.

    Between tiers only the chunks that both have are looked at.
    """
    left, right = _votes_by_tensor(first), _votes_by_tensor(second)
    return {
        name: _compare(votes, right[name])
        for name, votes in sorted(left.items())
        if name in right and votes.chunk == right[name].chunk
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Votes:
    """Every coefficient of one tensor: its chunk's row and column, its place there, its sign."""

    chunk: tuple[int, int]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    positions: NDArray[np.uint16]
    negative: NDArray[np.bool_]
    grid: tuple[int, int]

    def within(self, grid: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Keys and signs of the coefficients in the first chunks along both axes.

        A key is one number that is the same at every tier; no blob has 2**24 chunks, and no chunk
        more than 2**12 places.
        """
        inside = (self.rows < grid[0]) & (self.columns < grid[1])
        keys = ((self.rows << 24 | self.columns) << 12) + self.positions
        return keys[inside], self.negative[inside]


def _votes_by_tensor(update: Update) -> dict[str, _Votes]:
    votes = {}
    for member, part in split_tensors(update):
        tensor = member.tensor
        rows, columns = np.divmod(part.chunk_of_each(), tensor.grid_columns)
        votes[tensor.name] = _Votes(
            (tensor.chunk_rows, tensor.chunk_columns),
            rows,
            columns,
            part.positions,
            part.negative,
            (tensor.grid_rows, tensor.grid_columns),
        )
    return votes


def _compare(first: _Votes, second: _Votes) -> Overlap:
    shared = (min(first.grid[0], second.grid[0]), min(first.grid[1], second.grid[1]))
    left, left_negative = first.within(shared)
    right, right_negative = second.within(shared)
    _, in_left, in_right = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    same = int(np.count_nonzero(left_negative[in_left] == right_negative[in_right]))
    common = len(in_left)
    return Overlap(common, same, len(left) - common, len(right) - common)
