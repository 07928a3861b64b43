"""Token buckets and turnstiles, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.errors import Unavailable
from psyche_p2p.net.callers import address_key
from psyche_p2p.net.limits import (
    MAX_REMEMBERED_CALLERS,
    CallerBuckets,
    CallLimits,
    TokenBucket,
    Turnstile,
)

MIB = 1 << 20


@given(
    st.floats(1, 1e6),
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1e5)), max_size=40),
)
def test_no_more_is_taken_than_was_saved_and_earned(
    rate: float, capacity: float, asks: list[tuple[float, float]]
) -> None:
    bucket, now, taken = TokenBucket(rate, capacity), 0.0, 0.0
    for elapsed, amount in asks:
        now += elapsed
        taken += amount * bucket.try_take(amount, now)
    assert taken <= (capacity + rate * now) * (1 + 1e-9)


@given(st.lists(st.floats(1, 1e5), min_size=1, max_size=40))
def test_debt_is_paid_at_the_rate(amounts: list[float]) -> None:
    bucket, now = TokenBucket(1000.0, 500.0), 0.0
    for amount in amounts:
        now += bucket.spend(amount, now)
    assert now == pytest.approx(max(0.0, (sum(amounts) - 500.0) / 1000.0))


def test_a_bucket_without_limit_never_waits() -> None:
    bucket = TokenBucket(float("inf"), MIB)
    assert [bucket.spend(1e12, now) for now in (0.0, 0.0, 1.0)] == [0.0, 0.0, 0.0]


def test_time_that_runs_backwards_earns_nothing() -> None:
    bucket = TokenBucket(10.0, 10.0)
    assert bucket.try_take(10, 5.0)
    assert not bucket.try_take(1, 1.0)


def test_callers_are_forgotten_oldest_first() -> None:
    buckets = CallerBuckets(1.0, 1.0)
    for number in range(MAX_REMEMBERED_CALLERS + 10):
        buckets.of(str(number))
    assert len(buckets) == MAX_REMEMBERED_CALLERS


def test_calls_are_counted_by_caller_and_in_total() -> None:
    turnstile = Turnstile(CallLimits(calls_per_s=100, concurrent_calls=1, total_calls=2))
    with turnstile.enter("a", 0.0):
        with pytest.raises(Unavailable, match="at once"), turnstile.enter("a", 0.0):
            pass
        with (
            turnstile.enter("b", 0.0),
            pytest.raises(Unavailable, match="busy"),
            turnstile.enter("c", 0.0),
        ):
            pass
    with turnstile.enter("a", 0.0):
        pass


def test_calls_a_second_are_counted_by_caller() -> None:
    turnstile = Turnstile(CallLimits(calls_per_s=2))
    for _ in range(2):
        with turnstile.enter("a", 0.0):
            pass
    with pytest.raises(Unavailable, match="a second"), turnstile.enter("a", 0.0):
        pass
    with turnstile.enter("b", 0.0):
        pass
    with turnstile.enter("a", 0.5):
        pass


def test_bytes_wait_for_the_callers_share_and_for_everyones() -> None:
    turnstile = Turnstile(CallLimits(bytes_per_s=MIB, total_bytes_per_s=2 * MIB))
    assert turnstile.spend_bytes("a", MIB, 0.0) == 0.0
    assert turnstile.spend_bytes("a", MIB, 0.0) == pytest.approx(1.0)
    assert turnstile.spend_bytes("b", MIB, 0.0) == pytest.approx(
        1.0
    )  # of the total: 3 - 1 in 2 a s


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("ipv4:10.1.2.3:5678", "10.1.2.3"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:80", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:81", "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:10.1.2.3]:80", "10.1.2.3"),
        ("ipv6:[fe80::1%25eth0]:80", "fe80::/64"),
        ("unix:/tmp/socket", "unix"),
        ("nonsense", "nonsense"),
    ],
)
def test_addresses_are_told_apart_without_ports(peer: str, key: str) -> None:
    assert address_key(peer) == key
