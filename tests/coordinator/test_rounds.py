"""Closing rounds: when, who is dropped, what is paid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from psyche_p2p.coordinator import (
    AnyCommand,
    Pool,
    due_commands,
    due_times_ms,
    proposer_at,
    proposer_order,
)
from psyche_p2p.coordinator.ledger import contribution_points, total_points
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import PeerId, View
from psyche_p2p.wire import Phase, Role
from psyche_p2p.wire.records import MemberStatus
from tests.coordinator.closing import (
    close,
    commitments_of,
    head,
    in_training,
    points_of,
)
from tests.coordinator.world import (
    World,
    identity,
    make_config,
    make_join,
)


def test_points_follow_samples_and_tier_and_attestations() -> None:
    joins = {1: make_join(), 2: make_join(tier=1), 3: make_join(tier=2), 4: make_join()}
    world = World.start(make_config(), joins)
    world.run_until(Phase.TRAIN, rounds=1)
    rules = world.state.rules
    for index, join in joins.items():
        expected = contribution_points(rules, 6, join.tier) + 4
        assert points_of(world, identity(index).peer_id) == expected
    assert contribution_points(rules, 6, make_join().tier) > contribution_points(
        rules, 6, make_join(tier=2).tier
    )


def test_points_are_conserved_and_settled_at_the_epochs_end() -> None:
    world = in_training(rounds=3)
    totals = total_points(world.state)
    assert totals["issued"] == totals["pending"] + totals["settled"] + totals["forfeited"] > 0
    world.run_until(Phase.FINISHED)
    totals = total_points(world.state)
    assert totals["issued"] == totals["settled"] > 0
    assert totals["pending"] == 0


def test_an_early_close_needs_every_trainer_that_was_heard_of() -> None:
    world = in_training(rounds=1)
    world.dead.add(head(world).slots[0].trainer)
    with pytest.raises(Rejected, match="can be expected"):
        world.decide(close(world))
    world.wait(30)
    world.decide(close(world))
    world.decide(close(world))


def test_a_round_closes_at_its_deadline_with_nothing() -> None:
    world = in_training()
    world.dead.update(one.peer for one in world.state.members)
    world.wait(59.999)
    with pytest.raises(Rejected, match="deadline"):
        world.decide(close(world))
    world.wait(0.001)
    world.decide(close(world))
    assert world.state.closed_count == 1


@pytest.mark.parametrize("depth", [0, 1])
def test_one_dead_trainer_costs_one_grace_and_is_dropped(depth: int) -> None:
    """Not the longest time a round may take, and not again and again."""
    config = make_config(rounds={"pipeline_depth": depth, "max_round_train_s": 600.0})
    world = World.start(config, 5)
    world.run_until(Phase.TRAIN)
    for _ in range(4):
        world.wait(10)
        assert world.step()
    dead = world.state.members[2].peer
    world.dead.add(dead)
    took = []
    for _ in range(4):
        before = world.clock_ms
        world.wait(10)
        while not world.step():
            world.wait(0.1)
        took.append((world.clock_ms - before) / 1000)
    assert took[0] == pytest.approx(20, abs=0.5)
    assert max(took[1:]) < 13
    member = world.state.find_member(dead)
    assert member is not None
    assert member.status is MemberStatus.DROPPED
    assert dead not in {slot.trainer for slot in world.state.open_rounds[-1].slots}


def train(world: World, needs_s: dict[PeerId, float]) -> float:
    """One round in which each trainer needs so long; how long it took."""
    since = world.clock_ms
    while True:
        elapsed_s = (world.clock_ms - since) / 1000
        world.busy = {peer for peer, needed in needs_s.items() if needed > elapsed_s}
        if world.step():
            return elapsed_s
        world.wait(0.1)


def steady(peers: int) -> tuple[World, dict[PeerId, float]]:
    """A run after three rounds of about ten seconds, and how long each trainer needs."""
    config = make_config(run={"total_rounds": 60}, rounds={"max_round_train_s": 600.0})
    world = World.start(config, peers)
    world.run_until(Phase.TRAIN)
    members = world.state.members
    needs_s = {member.peer: 10 * (1 + 0.04 * index) for index, member in enumerate(members)}
    for _ in range(3):
        train(world, needs_s)
    return world, needs_s


def statuses(world: World) -> set[MemberStatus]:
    return {member.status for member in world.state.members}


@pytest.mark.parametrize("factor", [1.5, 2.1, 2.3, 3.0, 8.0])
def test_nobody_is_dropped_because_everything_became_slower(factor: float) -> None:
    """Between the fastest and the slowest lie 28%; from one round to the next all take longer."""
    world, needs_s = steady(8)
    slower = {peer: factor * needed for peer, needed in needs_s.items()}
    took = [train(world, slower) for _ in range(8)]
    assert statuses(world) == {MemberStatus.ACTIVE}
    assert took[-1] == pytest.approx(max(slower.values()), abs=0.2)
    assert all(member.missed_rounds == 0 for member in world.state.members)


def test_nobody_is_dropped_after_everyone_was_gone_for_a_round() -> None:
    world, needs_s = steady(6)
    world.dead.update(needs_s)
    world.wait(600)
    world.decide(close(world))
    assert all(member.silent_rounds == 1 for member in world.state.members)
    world.dead.clear()
    for _ in range(3):
        train(world, needs_s)
    assert statuses(world) == {MemberStatus.ACTIVE}


def test_members_that_return_together_are_not_dropped_for_being_slower() -> None:
    """Nobody waits for them in their first round back, so that is no miss: they were heard of."""
    world, needs_s = steady(7)
    lost = [member.peer for member in world.state.members][5:]
    world.dead.update(lost)
    train(world, needs_s)
    world.dead.clear()
    for _ in range(3):
        train(world, needs_s)
    assert statuses(world) == {MemberStatus.ACTIVE}


def test_a_trainer_that_is_there_but_never_delivers_is_dropped() -> None:
    world, needs_s = steady(5)
    idle = world.state.members[1].peer
    needs_s[idle] = 1e9
    for _ in range(3):
        train(world, needs_s)
    member = world.state.find_member(idle)
    assert member is not None
    assert member.status is MemberStatus.DROPPED


def test_a_silent_member_proposes_last() -> None:
    world, needs_s = steady(6)
    silent = world.state.members[3].peer
    world.dead.add(silent)
    train(world, needs_s)
    assert proposer_order(world.state)[-1] == silent
    assert proposer_at(world.state, View(5)) == silent


def test_a_trainer_that_comes_and_goes_cannot_stretch_rounds_without_end() -> None:
    world, needs_s = steady(6)
    flapping = world.state.members[0].peer
    for turn in range(24):
        world.dead = {flapping} if turn % 2 else set()
        took = train(world, needs_s)
    assert took < 2 * 4 * 12.5
    assert statuses(world) == {MemberStatus.ACTIVE}


def test_a_trainer_that_returns_in_time_is_not_dropped() -> None:
    world = in_training(peers=4, rounds=2)
    peer = world.state.members[0].peer
    world.dead.add(peer)
    world.wait(60)
    world.step()
    absent = world.state.find_member(peer)
    assert absent is not None
    assert (absent.missed_rounds, absent.silent_rounds) == (1, 1)
    world.dead.clear()
    world.run_until(Phase.TRAIN, rounds=6)
    member = world.state.find_member(peer)
    assert member is not None
    assert member.status is MemberStatus.ACTIVE
    assert (member.missed_rounds, member.silent_rounds) == (0, 0)


def test_a_proposer_that_was_passed_over_is_late_until_it_is_heard_of() -> None:
    world = in_training()
    late = proposer_at(world.state, View(0))
    world.decide(close(world), view=1)
    assert [one.peer for one in world.state.members if one.is_late] == [late]
    world.step()
    assert not any(one.is_late for one in world.state.members)


def test_a_silent_witness_is_dropped_too() -> None:
    joins = {index: make_join() for index in range(1, 5)} | {5: make_join((Role.WITNESS,))}
    world = World.start(make_config(run={"total_rounds": 30}), joins)
    world.run_until(Phase.TRAIN, rounds=1)
    silent = identity(5).peer_id
    world.dead.add(silent)
    world.run_until(Phase.TRAIN, rounds=12)
    member = world.state.find_member(silent)
    assert member is not None
    assert member.status is MemberStatus.DROPPED


def test_not_everyone_is_dropped() -> None:
    world = in_training(peers=3)
    world.dead.update(one.peer for one in world.state.members)
    for _ in range(4):
        world.wait(60)
        world.decide(close(world))
    assert len(world.state.active_members) == 3


def test_the_state_says_what_the_last_rounds_updates_are() -> None:
    world = in_training(rounds=1)
    opened, said = head(world), commitments_of(world)
    world.step()
    closed = world.state.closed_rounds[-1]
    assert closed.round == opened.round
    assert closed.learning_rate_bits == opened.learning_rate_bits
    assert [(blob.trainer, blob.batch, blob.blob_hash) for blob in closed.accepted] == [
        (one.sender, one.message.batch, one.message.blob_hash) for one in said
    ]
    world.run_until(Phase.FINISHED)
    assert [one.round for one in world.state.closed_rounds] == [16, 17, 18, 19]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"round": 7}, "cannot be closed"),
        ({"epoch": 3}, "epoch 3"),
        ({"learning_rate_bits": 0}, "learning rate bits"),
        ({"learning_rate_bits": None}, "0 learning rates, 1 are needed"),
    ],
)
def test_a_close_that_is_about_something_else(changes: dict[str, Any], reason: str) -> None:
    world = in_training()
    with pytest.raises(Rejected, match=reason):
        world.decide(close(world, **changes))


def test_the_slowest_witness_gets_a_moment() -> None:
    """A round that is due is not proposed at the very quorum, or one witness would seem silent."""
    world = World.start(make_config(), 4)
    world.run_until(Phase.TRAIN)
    for _ in range(2):
        world.wait(10)
        assert world.step()
    world.wait(10)
    heard = world.heard()
    world.pool = Pool()
    late = heard.attestations[-1]
    assert len(due(world, replace(heard, attestations=heard.attestations[:-1]))) == 0
    assert len(due(world, heard)) == 1
    world.wait(2.6)
    assert len(due(world, replace(heard, attestations=heard.attestations[:-1]))) == 1
    assert late.sender in head(world).committee


def due(world: World, pool: Pool) -> tuple[AnyCommand, ...]:
    return due_commands(world.state, pool, world.clock_ms)


def test_the_next_due_times_are_known() -> None:
    world = in_training()
    assert due_times_ms(world.state) == (world.state.head_since_ms + 60_000,)
    world.wait(10)
    world.step()
    since = world.state.head_since_ms
    assert due_times_ms(world.state) == (since + 12_500, since + 20_000, since + 60_000)
