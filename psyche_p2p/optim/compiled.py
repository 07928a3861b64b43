"""The loops that numba compiles: one pass over each chunk, in int32 and float32.

They hold no lock while they run, so that plain threads can share the work (`fast.py`). Fast-math is
off: a step is one subtraction, rounded once.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

_STRETCH = 64  # coefficients that are passed over at once if none is large


@numba.njit(nogil=True, cache=True)
def take_largest(flat, positions, taken, counts):
    """Move each chunk's largest coefficients out; see `kernels.Kernels.take_largest`."""
    chunks, area = flat.shape
    sizes = np.empty(positions.shape[1], np.float32)
    where = np.empty(positions.shape[1], np.int64)
    for chunk in range(chunks):
        values = flat[chunk]
        sizes[:] = 0
        found = 0
        for begin in range(0, area, _STRETCH):
            stretch = values[begin : min(begin + _STRETCH, area)]
            if _largest(stretch) > sizes[-1]:
                found = _keep_largest(stretch, begin, sizes, where, found)
        chosen = np.sort(where[:found])
        counts[chunk] = found
        for entry in range(found):
            position = chosen[entry]
            positions[chunk, entry] = position
            taken[chunk, entry] = values[position]
            values[position] = 0


@numba.njit(nogil=True, cache=True)
def apply_block(matrix, grid_columns, starts, ends, positions, signs, left, right, learning_rate):
    """Sum the votes of each chunk, transform them back, and step against the sign."""
    rows, columns = left.shape[0], right.shape[0]
    upper = (rows + 1) // 2
    votes = np.zeros((rows, columns), np.int32)
    touched = np.zeros(rows, np.bool_)
    even = np.zeros((upper, columns), np.int32)
    odd = np.zeros((upper, columns), np.int32)
    for chunk in range(starts.shape[1]):
        if _sum_votes(chunk, starts, ends, positions, signs, votes, touched):
            _transform_back(votes, touched, left, right, even, odd)
            top = (chunk // grid_columns) * rows
            beside = (chunk % grid_columns) * columns
            _step_against_sign(
                matrix[top : top + rows, beside : beside + columns], even, odd, learning_rate
            )


@numba.njit(nogil=True, cache=True)
def _largest(stretch):
    largest = np.float32(0)
    for position in range(len(stretch)):
        largest = max(largest, abs(stretch[position]))
    return largest


@numba.njit(nogil=True, cache=True)
def _keep_largest(stretch, begin, sizes, where, found):
    """Insert into the sizes kept so far, largest first; of equals the first stays ahead."""
    for position in range(len(stretch)):
        size = abs(stretch[position])
        if size > sizes[-1]:
            place = min(found, len(sizes) - 1)
            while place > 0 and sizes[place - 1] < size:
                sizes[place] = sizes[place - 1]
                where[place] = where[place - 1]
                place -= 1
            sizes[place] = size
            where[place] = begin + position
            found = min(found + 1, len(sizes))
    return found


@numba.njit(nogil=True, cache=True)
def _sum_votes(chunk, starts, ends, positions, signs, votes, touched):
    """Add all peers' votes on a chunk; says whether there are any."""
    columns = votes.shape[1]
    found = False
    for peer in range(starts.shape[0]):
        for entry in range(starts[peer, chunk], ends[peer, chunk]):
            row, column = divmod(np.int64(positions[entry]), columns)
            votes[row, column] += signs[entry]
            touched[row] = True
            found = True
    return found


@numba.njit(nogil=True, cache=True)
def _transform_back(votes, touched, left, right, even, odd):
    """The upper half of the chunk, from even and odd row frequencies apart; empties the votes.

    Basis rows of even frequency are symmetric about the middle and odd ones antisymmetric, so the
    lower half is the same two sums, subtracted.
    """
    rows, columns = votes.shape
    line = np.empty(columns, np.int32)
    even[:] = 0
    odd[:] = 0
    for row in range(rows):
        if not touched[row]:
            continue
        touched[row] = False
        line[:] = 0
        for frequency in range(columns):
            weight = votes[row, frequency]
            if weight != 0:
                votes[row, frequency] = 0
                for x in range(columns):
                    line[x] += weight * right[frequency, x]
        half = odd if row & 1 else even
        for y in range(len(half)):
            factor = left[row, y]
            for x in range(columns):
                half[y, x] += factor * line[x]


@numba.njit(nogil=True, cache=True)
def _step_against_sign(chunk, even, odd, learning_rate):
    """chunk -= learning_rate * sign, written so that it vectorises: a zero subtracts a zero."""
    rows, columns = chunk.shape
    for y in range(len(even)):
        mirrored = rows - 1 - y
        for x in range(columns):
            above = even[y, x] + odd[y, x]
            chunk[y, x] -= learning_rate * np.float32((above > 0) - np.int32(above < 0))
        if mirrored != y:
            for x in range(columns):
                below = even[y, x] - odd[y, x]
                chunk[mirrored, x] -= learning_rate * np.float32((below > 0) - np.int32(below < 0))
