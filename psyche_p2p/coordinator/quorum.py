"""How many members must agree (docs/protocol.md, "Quorum")."""

from __future__ import annotations

_SMALLEST_WITH_LIARS = 4
_SMALL_QUORUMS = (1, 1, 2, 2)  # of nobody: more than there are


def compute_quorum(size: int) -> int:
    """The votes that decide in a committee of this size.

    From four members on any two quorums share an honest one, and liars alone never make one, while
    at most `tolerated_liars` lie. Below that the rule only bridges crashes.
    """
    if size < _SMALLEST_WITH_LIARS:
        return _SMALL_QUORUMS[size]
    return 2 * size // 3 + 1


def tolerated_liars(size: int) -> int:
    """How many members of a committee may lie without harm."""
    return (size - 1) // 3 if size >= _SMALLEST_WITH_LIARS else 0
