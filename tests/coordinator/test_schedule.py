"""Learning rates as bits, and the growth of the batch."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.coordinator.rules import Rules, rules_of
from psyche_p2p.coordinator.schedule import (
    compute_batch_size,
    compute_learning_rate_bits,
    is_acceptable_learning_rate,
    learning_rate_from_bits,
)
from tests.coordinator.world import make_config


def rules(total: int = 100, **schedule: Any) -> Rules:
    run = {"total_rounds": total}
    return rules_of(make_config(run=run, schedule={"learning_rate": 2e-3} | schedule))


def rate(of: Rules, round_index: int, cold_since: int = 0) -> float:
    return learning_rate_from_bits(compute_learning_rate_bits(of, round_index, cold_since))


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    of = rules(kind="constant", warmup_rounds=4)
    expected = [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [rate(of, index) for index in range(5)] == [
        pytest.approx(2e-3 * share, rel=1e-7) for share in expected
    ]


@given(st.integers(2, 5000), st.data())
def test_the_cosine_agrees_with_the_math_library(total: int, data: st.DataObject) -> None:
    round_index = data.draw(st.integers(0, total - 1))
    of = rules(total, kind="cosine", final_ratio=0.1)
    share = 0.1 + 0.9 * (1 + math.cos(math.pi * round_index / total)) / 2
    (bits,) = struct.unpack(">I", struct.pack(">f", 2e-3 * share))
    assert is_acceptable_learning_rate(bits, compute_learning_rate_bits(of, round_index, 0))


@pytest.mark.parametrize("kind", ["linear", "cosine", "warmup_stable_decay"])
def test_decay_never_rises_again(kind: str) -> None:
    decay = {"decay_rounds": 30} if kind == "warmup_stable_decay" else {}
    of = rules(kind=kind, warmup_rounds=10, final_ratio=0.1, **decay)
    rates = [rate(of, index) for index in range(10, 400)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(2e-4, rel=1e-7)
    assert rates[90] == rates[-1]


@given(st.integers(1, 50), st.data())
def test_every_schedule_has_a_rate_for_every_round(total: int, data: st.DataObject) -> None:
    """Also those without rounds of decay, or with nothing but warm-up."""
    kind = data.draw(st.sampled_from(["constant", "linear", "cosine", "warmup_stable_decay"]))
    warmup = data.draw(st.integers(0, total))
    is_decaying = kind == "warmup_stable_decay"
    decay = data.draw(st.integers(0, total - warmup)) if is_decaying else 0
    of = rules(total, kind=kind, warmup_rounds=warmup, decay_rounds=decay)
    rates = [rate(of, index) for index in range(total + 3)]
    assert all(0 < one <= 2.01e-3 for one in rates)
    if warmup:
        assert rates[:warmup] == sorted(rates[:warmup])


def test_a_cold_start_grows_linearly_from_the_pause_on() -> None:
    of = rules(kind="constant", cold_start_warmup_rounds=4)
    assert rate(of, 20, 20) == pytest.approx(5e-4, rel=1e-7)
    assert rate(of, 23, 20) == rate(of, 24, 20) == rate(of, 24)


@given(st.integers(0, 0x7F7FFFFF), st.integers(-4, 4))
def test_two_units_in_the_last_place_are_allowed(expected: int, distance: int) -> None:
    bits = expected + distance
    if bits >= 0:
        acceptable = abs(distance) <= 2 and bits < 0x7F800000
        assert is_acceptable_learning_rate(bits, expected) == acceptable


def test_infinity_and_nan_are_not_learning_rates() -> None:
    assert not is_acceptable_learning_rate(0x7F800000, 0x7F7FFFFF)
    assert not is_acceptable_learning_rate(0xFFC00000, 0x7F7FFFFF)


def test_the_batch_grows_from_start_to_end_and_stays() -> None:
    of = rules_of(
        make_config(
            rounds={
                "global_batch_size_start": 10,
                "global_batch_size_end": 20,
                "global_batch_size_warmup_tokens": 128 * 100,
            }
        )
    )
    sizes = [compute_batch_size(of, index) for index in (0, 4, 5, 50, 99, 100, 10**9)]
    assert sizes == [10, 10, 11, 15, 20, 20, 20]


def test_without_warm_up_the_batch_has_its_final_size() -> None:
    sizes = {"global_batch_size_start": 10, "global_batch_size_end": 20}
    of = rules_of(make_config(rounds=sizes))
    assert compute_batch_size(of, 0) == 20
