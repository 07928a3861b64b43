"""Half-open connections: bounded in all and by address, the oldest gives way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.net.relay.half_open import HalfOpen


def test_the_oldest_of_the_same_address_gives_way() -> None:
    places: HalfOpen[int] = HalfOpen(most=10, most_per_host=2)
    assert [places.enter(n, "a") for n in range(3)] == [None, None, 0]
    assert places.enter(9, "b") is None


def test_the_oldest_of_all_gives_way_when_all_are_taken() -> None:
    places: HalfOpen[int] = HalfOpen(most=3, most_per_host=3)
    assert [places.enter(n, str(n)) for n in range(4)] == [None, None, None, 0]
    places.leave(2)
    assert places.enter(5, "5") is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_it_never_holds_more_than_it_may(steps: list[tuple[str, bool]]) -> None:
    places: HalfOpen[int] = HalfOpen(most=5, most_per_host=2)
    inside: dict[int, str] = {}
    for number, (host, leaves) in enumerate(steps):
        evicted = places.enter(number, host)
        if evicted is not None:
            assert evicted in inside
            del inside[evicted]
        inside[number] = host
        if leaves:
            places.leave(number)
            del inside[number]
        assert len(places) == len(inside) <= 5
        assert all(list(inside.values()).count(each) <= 2 for each in "abc")
