"""Whether counts look uniform, without a statistics library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def chi_squared_statistic(counts: Counter[Item], items: Sequence[Item]) -> float:
    """The sum of squared deviations from equal counts, each over the expected count."""
    expected = counts.total() / len(items)
    return sum((counts[item] - expected) ** 2 / expected for item in items)


def chi_squared_bound(degrees: int) -> float:
    """What the statistic exceeds with a chance of about one in a million.

    The approximation of E. Wilson and M. Hilferty (1931), with the normal quantile 4.7534.
    """
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + 4.7534 * spread**0.5) ** 3)
