"""The Rice parameter: the fewest bits for a random set, and never an endless search."""

from __future__ import annotations

import pytest

from psyche_p2p.codec.rice import compute_rice_parameter


def expected_bits(universe: int, size: int, parameter: int) -> float:
    """Bits a member of a random set takes: the low bits, a stop, and the expected unary part."""
    chance = 1 - size / universe
    reach = chance ** (1 << parameter)
    return float(parameter + 1 + reach / (1 - reach))


@pytest.mark.parametrize(("universe", "size"), [(4096, 8), (4096, 64), (4096, 1), (256, 100)])
def test_no_other_parameter_is_two_percent_better(universe: int, size: int) -> None:
    chosen = compute_rice_parameter(universe, size)
    best = min(expected_bits(universe, size, parameter) for parameter in range(13))
    assert expected_bits(universe, size, chosen) <= best * 1.02


@pytest.mark.parametrize("size", [0, -1])
def test_a_set_without_members_has_none(size: int) -> None:
    with pytest.raises(ValueError, match="without members"):
        compute_rice_parameter(4096, size)
