"""The plan of a download in virtual time: fast, fair, and never stopped by bad sources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.net.sources import MAX_REMEMBERED, SourceBook
from psyche_p2p.net.swarm_plan import PlanRules, SwarmPlan
from tests.net.builders import make_person
from tests.net.swarm_world import CHUNK_BYTES, Source, World

MB = 1e6


def seconds(chunks: int, *sources: Source) -> float:
    return World(chunks, list(sources)).run()


def test_four_equal_sources_are_almost_four_times_as_fast() -> None:
    alone = seconds(64, Source("a"))
    together = seconds(64, *(Source(name) for name in "abcd"))
    assert alone / together > 3.5


@pytest.mark.parametrize("speeds", [(40, 10, 2), (100, 1), (5, 5, 5, 50), (1, 1, 1, 1, 80)])
def test_unlike_sources_end_together(speeds: tuple[int, ...]) -> None:
    sources = [Source(f"s{i}", bytes_per_s=speed * MB) for i, speed in enumerate(speeds)]
    best = 128 * CHUNK_BYTES / (sum(speeds) * MB)
    assert World(128, sources).run() < 1.3 * best + 1.0


def test_the_last_chunks_do_not_wait_for_the_slowest() -> None:
    """Without a second request, they would wait until the slow source is given up."""
    sources = [Source("fast", bytes_per_s=20 * MB), Source("slow", bytes_per_s=0.1 * MB)]
    world = World(40, sources)
    assert world.run() < 3.0
    unhedged = World(40, [Source("f", 20 * MB), Source("s", 0.1 * MB)], PlanRules(copies=1))
    assert unhedged.run() > 5.0


def test_hedging_costs_few_copies() -> None:
    world = World(256, [Source(name, bytes_per_s=10 * MB) for name in "abcd"])
    world.run()
    assert world.copies <= 4


def test_the_rarest_chunks_are_asked_for_first() -> None:
    """One source alone has the last ten chunks, and leaves after sending ten."""
    rare = set(range(50, 60))
    only = Source("only", dies_after=10)
    common = [Source(f"c{i}", chunks=set(range(50))) for i in range(3)]
    world = World(60, [only, *common])
    world.run(60.0)
    assert rare <= set(world.received)
    assert world.plan.is_complete


def test_a_source_that_falls_silent_is_left_for_another() -> None:
    world = World(20, [Source("silent", silent_after=3, bytes_per_s=50 * MB), Source("good")])
    assert world.run() < 20.0


@pytest.mark.parametrize("fault", ["lies_at", "dies_after", "silent_after"])
@pytest.mark.parametrize("when", [0, 1, 7, 12, 20, 24])
def test_a_bad_source_among_four_delays_by_less_than_one_chunks_time_out(
    fault: str, when: int
) -> None:
    """Beside what its line would have given: the others are as fast as they were."""
    without_it = seconds(96, *(Source(name) for name in "bcd"))
    bad = Source("a")
    setattr(bad, fault, frozenset(range(when, 96)) if fault == "lies_at" else when)
    world = World(96, [bad, *(Source(name) for name in "bcd")])
    took_s = world.run()
    assert sorted(set(world.received)) == list(range(96))
    assert took_s - without_it < PlanRules().stall_s


def test_a_source_that_fails_at_first_is_tried_again_later() -> None:
    world = World(10, [Source("ill", dies_after=4)])
    world.run(3.0)
    assert not world.plan.is_complete
    world.sources[next(iter(world.sources))].dies_after = None
    assert world.run(60.0) < 60.0


@pytest.mark.parametrize("chunk", range(12))
def test_a_lie_in_any_chunk_is_fetched_from_another_and_remembered(chunk: int) -> None:
    liar = Source("liar", lies_at=frozenset({chunk}), bytes_per_s=20 * MB)
    world = World(12, [liar, Source("honest", bytes_per_s=1 * MB)])
    world.run()
    assert sorted(set(world.received)) == list(range(12))
    if chunk in liar.sent:
        assert liar.peer in world.book.liars
        assert not world.book.is_usable(liar.peer, 1e9)


sources = st.builds(
    Source,
    name=st.sampled_from([f"other {number}" for number in range(12)]),
    bytes_per_s=st.sampled_from([0.2 * MB, 1 * MB, 10 * MB, 500 * MB]),
    delay_s=st.sampled_from([0.0, 0.05, 0.5]),
    chunks=st.none() | st.sets(st.integers(0, 29)),
    lies_at=st.frozensets(st.integers(0, 29), max_size=3),
    silent_after=st.none() | st.integers(0, 20),
    dies_after=st.none() | st.integers(0, 20),
)


@given(st.lists(sources, max_size=6, unique_by=lambda source: source.name))
def test_one_good_source_is_enough_among_any_others(others: list[Source]) -> None:
    world = World(30, [*others, Source("good", bytes_per_s=3 * MB)])
    world.run()
    assert world.plan.is_complete
    assert set(world.received) == set(range(30))


@given(st.sets(st.integers(0, 19), min_size=1), st.sets(st.integers(0, 19), min_size=1))
def test_what_nobody_has_stays_missing_and_the_rest_comes(one: set[int], two: set[int]) -> None:
    world = World(20, [Source("one", chunks=one), Source("two", chunks=two)])
    world.run(60.0)
    assert set(world.received) == one | two
    assert world.plan.missing == set(range(20)) - one - two


def test_an_order_that_broke_off_is_given_again() -> None:
    alice, book = make_person("alice").peer, SourceBook()
    plan = SwarmPlan(CHUNK_BYTES, range(4), book, PlanRules())
    plan.add_source(alice)
    first = plan.next_orders(0.0)
    assert [order.chunks for order in first] == [(0, 1), (2, 3)]
    plan.on_chunk(first[0].number, 0, 0.1)
    plan.close_order(first[0].number)
    (again,) = plan.next_orders(0.2)
    assert again.chunks == (1,)


def test_the_book_forgets_the_oldest() -> None:
    book = SourceBook()
    peers = [make_person(str(number)).peer for number in range(3)]
    for number in range(MAX_REMEMBERED):
        book.of(type(peers[0])(f"peer{number}"))
    book.of(peers[0])
    assert len(book.records) == MAX_REMEMBERED
    assert "peer0" not in book.records
