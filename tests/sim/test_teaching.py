"""Distilling runs: who teaches badly is named, who says so of good targets is not believed."""

from __future__ import annotations

import pytest

from psyche_p2p.coordinator import State, apply
from psyche_p2p.sim.network import LinkModel
from psyche_p2p.sim.schedule import Lie, Schedule, random_schedule
from psyche_p2p.sim.world import World
from psyche_p2p.wire.records import MemberStatus

ROUNDS = 8
LIMIT_MS = 120_000
SLOW = LinkModel(latency_ms=50, jitter_ms=20)
LOSSY = LinkModel(latency_ms=50, jitter_ms=50, loss=0.25, duplication=0.05, reordering=0.1)
Liars = tuple[tuple[int, tuple[Lie, ...]], ...]


def run(tiers: tuple[int, ...], liars: Liars = (), links: LinkModel = SLOW, seed: int = 4) -> World:
    """A distilling run that ended, and whose promises all held."""
    schedule = Schedule(
        seed, len(tiers), ROUNDS, links=links, liars=liars, tiers=tiers, is_distilling=True
    )
    world = World(schedule)
    result = world.run(LIMIT_MS)
    assert result.violations == ()
    assert result.is_finished
    return world


def states_of(world: World) -> list[State]:
    """Every state that the first honest peer went through."""
    honest = next(peer for peer in world.peers if peer.is_honest)
    states = [world.genesis]
    for decided in honest.disk.decided:
        states.append(apply(states[-1], decided.block, world.notary.verify))
    return states


@pytest.mark.parametrize("tiers", [(0, 1), (0, 0, 1, 1), (0, 0, 1, 2, 2, 1, 0)], ids=str)
def test_students_train_on_what_they_are_taught(tiers: tuple[int, ...]) -> None:
    world = run(tiers)
    assert world.monitor.named == set()
    closed = {one.round: one for state in states_of(world) for one in state.closed_rounds}
    assert len(closed) == ROUNDS
    assert all(len(one.accepted) == len(tiers) for one in closed.values())


@pytest.mark.parametrize("links", [SLOW, LOSSY], ids=["slow", "lossy"])
@pytest.mark.parametrize(
    ("tiers", "liars"),
    [
        ((0, 0, 1, 1), (0,)),
        ((0, 0, 0, 1, 1, 1, 2), (0, 2)),
        ((0, 1, 1, 1), (0,)),  # nobody else can teach: it is named in every round, and stays
    ],
)
def test_a_bad_teacher_is_named_and_its_students_keep_their_good_name(
    tiers: tuple[int, ...], liars: tuple[int, ...], links: LinkModel
) -> None:
    world = run(tiers, tuple((index, (Lie.BAD_TEACHER,)) for index in liars), links)
    culprits = {world.peer_id(index) for index in liars}
    assert world.monitor.named
    assert world.monitor.named <= culprits
    if links is SLOW:
        blamed = {
            member.peer
            for state in states_of(world)
            for member in state.members
            if member.missed_rounds or member.status is not MemberStatus.ACTIVE
        }
        assert blamed <= culprits


@pytest.mark.parametrize("links", [SLOW, LOSSY], ids=["slow", "lossy"])
@pytest.mark.parametrize(
    ("tiers", "liars"),
    [
        ((0, 0, 1, 1), (2,)),  # the student itself
        ((0, 0, 0, 1, 1, 1, 2), (4, 6)),  # two students, or two witnesses
        ((0, 0, 0, 1, 1, 1, 2), (0, 5)),  # another teacher and a student
    ],
)
def test_those_who_refuse_good_targets_are_not_believed(
    tiers: tuple[int, ...], liars: tuple[int, ...], links: LinkModel
) -> None:
    world = run(tiers, tuple((index, (Lie.FRAMING_WITNESS,)) for index in liars), links)
    assert world.monitor.named == set()


def test_a_bad_teacher_with_a_friend_on_the_committee_is_named_all_the_same() -> None:
    liars = ((0, (Lie.BAD_TEACHER,)), (3, (Lie.FRAMING_WITNESS,)))
    world = run((0, 0, 0, 1, 1, 1, 2), liars)
    assert world.monitor.named == {world.peer_id(0)}


def test_random_schedules_distil_too() -> None:
    drawn = [random_schedule(seed) for seed in range(200)]
    lies = [
        lie for one in drawn if one.is_distilling for _, several in one.liars for lie in several
    ]
    assert lies.count(Lie.BAD_TEACHER) > 5
    assert lies.count(Lie.FRAMING_WITNESS) > 5
