"""Learning rates by round, and the bits that peers agree on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.config import ScheduleConfig
from psyche_p2p.errors import ConfigError
from psyche_p2p.optim.schedule import (
    MAX_ULPS,
    compute_learning_rate,
    is_close_learning_rate,
    learning_rate_from_bits,
    learning_rate_to_bits,
)

KINDS = ["constant", "linear", "cosine", "warmup_stable_decay"]


def make_schedule(kind: Any = "cosine", **changes: Any) -> ScheduleConfig:
    settings = {"learning_rate": 1.0, "warmup_rounds": 10, "final_ratio": 0.1, **changes}
    return ScheduleConfig(kind=kind, **settings)


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("constant", {}, {0: 0.1, 9: 1.0, 10: 1.0, 99: 1.0, 500: 1.0}),
        ("linear", {}, {4: 0.5, 10: 1.0, 99: 0.1, 1000: 0.1}),
        ("linear", {"warmup_rounds": 0, "final_ratio": 0.0}, {0: 1.0, 99: 0.0, 100: 0.0}),
        ("cosine", {}, {4: 0.5, 10: 1.0, 99: 0.1, 1000: 0.1}),
        ("cosine", {"warmup_rounds": 9}, {54: 0.55}),
        ("warmup_stable_decay", {"decay_rounds": 20}, {10: 1.0, 79: 1.0, 89: 0.55, 99: 0.1}),
        ("warmup_stable_decay", {"decay_rounds": 0}, {10: 1.0, 99: 1.0, 1000: 1.0}),
    ],
)
def test_values(kind: str, changes: dict[str, Any], expected: dict[int, float]) -> None:
    schedule = make_schedule(kind, **changes)
    for index, rate in expected.items():
        assert compute_learning_rate(schedule, 100, index) == pytest.approx(rate), index


@given(
    kind=st.sampled_from(KINDS),
    total=st.integers(1, 300),
    warmup=st.integers(0, 50),
    decay=st.integers(0, 50),
    index=st.integers(0, 1000),
)
def test_always_between_nothing_and_the_peak(
    kind: str, total: int, warmup: int, decay: int, index: int
) -> None:
    schedule = make_schedule(kind, warmup_rounds=warmup, decay_rounds=decay)
    rate = compute_learning_rate(schedule, total, index)
    assert 0 < rate <= 1
    if index >= max(warmup, total - 1) and kind in ("linear", "cosine") and total > warmup + 1:
        assert rate == pytest.approx(0.1)


def test_a_cold_start_ramps_up_again() -> None:
    schedule = make_schedule("constant", cold_start_warmup_rounds=4)
    rates = [
        compute_learning_rate(schedule, 100, index, cold_start_round=50) for index in range(49, 56)
    ]
    assert rates == pytest.approx([1.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_another_peak_replaces_the_schedules_own() -> None:
    assert compute_learning_rate(make_schedule("constant"), 100, 50, peak=3e-3) == 3e-3


@given(st.floats(min_value=2.0**-140, max_value=2.0**60, width=32))
def test_bits_come_back(rate: float) -> None:
    assert learning_rate_from_bits(learning_rate_to_bits(rate)) == np.float32(rate)


@pytest.mark.parametrize("rate", [-1.0, -0.0, math.inf, -math.inf, math.nan])
def test_bits_of_no_learning_rate_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="bit pattern"):
        learning_rate_from_bits(learning_rate_to_bits(rate))
    assert not is_close_learning_rate(learning_rate_to_bits(rate), learning_rate_to_bits(rate))


@pytest.mark.parametrize("bits", [-1, 1 << 32, 1 << 70])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ConfigError):
        learning_rate_from_bits(bits)


def test_two_last_places_are_close_and_three_are_not() -> None:
    own = learning_rate_to_bits(2e-3)
    assert is_close_learning_rate(own - MAX_ULPS, own)
    assert is_close_learning_rate(own + MAX_ULPS, own)
    assert not is_close_learning_rate(own + MAX_ULPS + 1, own)
    assert not is_close_learning_rate(own - MAX_ULPS - 1, own)
