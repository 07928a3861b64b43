"""Which source is asked for what of the log: in memory, with a clock that is only a number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psyche_p2p.ids import Height, PeerId
from psyche_p2p.net.log_plan import (
    END_GRACE_S,
    HEDGE_S,
    MAX_FAILURES,
    RANGE_BLOCKS,
    WINDOW_BLOCKS,
    LogOrder,
    LogPlan,
)
from psyche_p2p.wire import DecidedBlock
from tests.coordinator.recorded import Recorded
from tests.coordinator.world import make_config

A, B = PeerId("a"), PeerId("b")
TEMPLATE = Recorded(make_config(run={"total_rounds": 1})).decided[0]


def block(height: int) -> DecidedBlock:
    return replace(TEMPLATE, block=replace(TEMPLATE.block, height=Height(height)))


def answer(plan: LogPlan, order: LogOrder, log_length: int) -> None:
    """What an honest source with so many blocks gives."""
    heights = range(order.first, min(order.first + order.count, log_length + 1))
    plan.on_blocks(order, [block(height) for height in heights])


def drain(plan: LogPlan) -> list[int]:
    taken = []
    while (found := plan.peek()) is not None:
        taken.append(int(found[1].block.height))
        plan.advance()
    return taken


def begin(*peers: PeerId, first: int = 1) -> LogPlan:
    return LogPlan.begin(Height(first), peers)


@pytest.mark.parametrize("length", [0, 1, RANGE_BLOCKS, RANGE_BLOCKS + 1, 3 * WINDOW_BLOCKS + 5])
@pytest.mark.parametrize("sources", [1, 2, 5])
def test_every_block_comes_once_and_in_order(length: int, sources: int) -> None:
    plan = begin(*(PeerId(f"peer {number}") for number in range(sources)))
    taken: list[int] = []
    while orders := plan.next_orders(0.0):
        assert len({order.source for order in orders}) == len(orders)
        for order in reversed(orders):
            answer(plan, order, length)
        taken += drain(plan)
    assert taken == list(range(1, length + 1))
    assert plan.is_over(0.0)
    assert plan.next_deadline(0.0) is None


def test_no_more_is_asked_for_than_the_window_holds() -> None:
    plan = begin(A, B)
    first, *_ = plan.next_orders(0.0)
    kept = 0
    while orders := [one for one in plan.next_orders(0.0) if one.source == B] or (
        [LogOrder(B, Height(RANGE_BLOCKS + 1), RANGE_BLOCKS)] if not kept else []
    ):
        for order in orders:
            assert order.first + order.count <= 1 + WINDOW_BLOCKS
            answer(plan, order, 10_000)
            kept += order.count
    assert kept == WINDOW_BLOCKS - RANGE_BLOCKS
    answer(plan, first, 10_000)
    assert drain(plan) == list(range(1, WINDOW_BLOCKS + 1))


def test_a_source_that_sends_other_heights_is_dropped() -> None:
    plan = begin(A)
    (order,) = plan.next_orders(0.0)
    plan.on_blocks(order, [block(1), block(3)])
    assert plan.dropped == {A: "sent block 3 in the place of block 2"}
    assert plan.peek() is None


def test_what_a_liar_gave_is_forgotten_and_asked_for_again() -> None:
    plan = begin(A, B)
    first, second = plan.next_orders(0.0)
    answer(plan, first, 10_000)
    answer(plan, second, 10_000)
    plan.advance()
    plan.drop(A, "forged")
    (again,) = plan.next_orders(0.0)
    assert again == LogOrder(B, Height(2), RANGE_BLOCKS - 1)
    answer(plan, again, 10_000)
    assert drain(plan) == list(range(2, 2 * RANGE_BLOCKS + 1))


def test_the_answer_of_a_dropped_source_is_not_taken() -> None:
    plan = begin(A, B)
    first, _ = plan.next_orders(0.0)
    plan.drop(A, "forged")
    answer(plan, first, 10_000)
    assert plan.peek() is None


def test_one_slow_source_does_not_hold_up_the_others() -> None:
    plan = begin(A, B)
    slow, quick = plan.next_orders(0.0)
    for _ in range(WINDOW_BLOCKS // RANGE_BLOCKS - 1):
        answer(plan, quick, 10_000)
        quick = next(iter(plan.next_orders(1.0)), quick)
    assert plan.next_orders(1.0) == []
    assert plan.next_deadline(1.0) == HEDGE_S
    (hedge,) = plan.next_orders(HEDGE_S)
    assert (hedge.source, hedge.first, hedge.count) == (B, slow.first, slow.count)


def test_a_source_that_fails_is_asked_later_and_then_no_more() -> None:
    plan, now = begin(A), 0.0
    for _ in range(MAX_FAILURES - 1):
        (order,) = plan.next_orders(now)
        plan.on_failure(order.source, "busy", now)
        assert plan.next_orders(now) == []
        retry_at = plan.next_deadline(now)
        assert retry_at is not None
        assert retry_at > now
        now = retry_at
    (order,) = plan.next_orders(now)
    plan.on_failure(order.source, "busy", now)
    assert plan.dropped == {A: "busy"}
    assert plan.next_deadline(now) is None
    assert plan.is_over(now)


def test_a_success_forgives_failures() -> None:
    plan = begin(A)
    for number in range(3 * MAX_FAILURES):
        (order,) = plan.next_orders(100.0 * number)
        if number % 2:
            plan.on_failure(A, "busy", 100.0 * number)
        else:
            answer(plan, order, 10_000)
            drain(plan)
    assert plan.dropped == {}


def test_the_log_ends_only_when_everyone_says_so() -> None:
    plan = begin(A, B)
    for order in plan.next_orders(0.0):
        answer(plan, order, 3 if order.source == A else 5)
    assert drain(plan) == [1, 2, 3]
    (order,) = plan.next_orders(0.0)
    assert (order.source, order.first) == (B, 4)
    answer(plan, order, 5)
    assert drain(plan) == [4, 5]
    while orders := plan.next_orders(0.0):
        for order in orders:
            answer(plan, order, 5)
    assert drain(plan) == []
    assert plan.is_over(0.0)


def test_who_never_answers_does_not_hold_up_the_end_for_long() -> None:
    plan = begin(A, B)
    for order in plan.next_orders(0.0):
        if order.source == A:
            answer(plan, order, 3)
    assert drain(plan) == [1, 2, 3]
    assert plan.next_orders(0.0) == []
    assert not plan.is_over(END_GRACE_S - 0.1)
    assert plan.next_deadline(0.0) == END_GRACE_S
    assert plan.is_over(END_GRACE_S)
    assert plan.dropped == {}


def test_who_answered_before_is_waited_for_at_the_end() -> None:
    plan = begin(A, B)
    first, second = plan.next_orders(0.0)
    answer(plan, first, 10_000)
    answer(plan, second, 40)
    assert drain(plan) == list(range(1, 41))
    (order,) = plan.next_orders(1.0)
    assert (order.source, order.first) == (A, 41)
    assert not plan.is_over(100.0)
    answer(plan, order, 45)
    assert drain(plan) == [41, 42, 43, 44, 45]


def test_nobody_says_that_it_ends_so_the_silent_are_waited_for() -> None:
    plan = begin(A)
    plan.next_orders(0.0)
    assert not plan.is_over(100.0)
    assert plan.next_deadline(100.0) is None
