"""The manual clock moves when told to, and only forwards."""

from __future__ import annotations

import time

import pytest

from psyche_p2p.clock import ManualClock, SystemClock


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(start_ms=1_000)
    assert (clock.time_ms(), clock.monotonic_s()) == (1_000, 0.0)
    clock.advance_ms(250)
    assert (clock.time_ms(), clock.monotonic_s()) == (1_250, 0.25)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance_ms(-1)


def test_the_system_clock_is_the_machines() -> None:
    before = time.time()
    now = SystemClock().time_ms() / 1000
    assert before - 0.01 <= now <= time.time() + 0.01
    assert SystemClock().monotonic_s() <= time.monotonic()
