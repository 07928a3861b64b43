"""The permutation: a bijection, the same everywhere, different for every seed and label."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.data.permutation import Permutation


@given(size=st.integers(1, 700), seed=st.integers(0, 2**53 - 1))
def test_every_index_is_hit_exactly_once(size: int, seed: int) -> None:
    permutation = Permutation(size, seed, "test")
    assert sorted(permutation[index] for index in range(size)) == list(range(size))


def test_seeds_and_labels_give_different_orders() -> None:
    orders = {
        tuple(Permutation(50, seed, label)[index] for index in range(50))
        for seed in range(3)
        for label in ("a", "b")
    }
    assert len(orders) == 6


def test_neighbours_are_scattered() -> None:
    permutation = Permutation(10_000, 7, "test")
    steps = [abs(permutation[index + 1] - permutation[index]) for index in range(500)]
    # the mean distance of two random indices is a third of the size, give or take 5%
    assert 2900 < sum(steps) / len(steps) < 3800


def test_the_order_is_part_of_the_protocol() -> None:
    assert [Permutation(1000, 42, "slots")[index] for index in range(8)] == GOLDEN


def test_a_huge_size_costs_nothing() -> None:
    permutation = Permutation(2**50 + 3, 1, "test")
    assert len({permutation[index] for index in range(100)}) == 100


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_is_refused(index: int) -> None:
    with pytest.raises(IndexError):
        Permutation(10, 1, "test")[index]


def test_an_empty_permutation_is_refused() -> None:
    with pytest.raises(ValueError):
        Permutation(0, 1, "test")


GOLDEN = [566, 852, 241, 282, 357, 440, 660, 390]
