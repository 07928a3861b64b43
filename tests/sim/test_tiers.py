"""Runs whose members hold unlike parts of the model: roots advance, and liars do not move them."""

from __future__ import annotations

import pytest

from psyche_p2p.coordinator import State, apply
from psyche_p2p.sim.duties import stub_param_roots
from psyche_p2p.sim.network import LinkModel
from psyche_p2p.sim.schedule import Fault, FaultKind, Lie, Schedule, random_schedule
from psyche_p2p.sim.world import World
from psyche_p2p.wire import Phase
from psyche_p2p.wire.records import MemberStatus

ROUNDS = 6
LIMIT_MS = 120_000
LINKS = LinkModel(latency_ms=20, jitter_ms=10)
FALSE = (Lie.FALSE_PARAMETERS,)
MIXTURES: list[tuple[int | None, ...]] = [
    (0,),
    (0, 1),
    (0, None),
    (0, 1, 1),
    (0, None, None, None),
    (0, 0, 0, 1),
    (0, 1, 2, None),
    (0, 0, 1, 1, 2, None, None),
    (None, 0, 2, 2, 2, 1, 0, 1, None, 0),
]


def run(
    tiers: tuple[int | None, ...],
    liars: tuple[int, ...] = (),
    faults: tuple[Fault, ...] = (),
    limit_ms: int = LIMIT_MS,
) -> World:
    """A run whose promises all held, whatever else became of it."""
    lying = tuple((index, FALSE) for index in liars)
    schedule = Schedule(4, len(tiers), ROUNDS, links=LINKS, liars=lying, faults=faults, tiers=tiers)
    world = World(schedule)
    assert world.run(limit_ms).violations == ()
    return world


def states_of(world: World, index: int = 0) -> list[State]:
    """Every state that this peer went through."""
    states = [world.genesis]
    for decided in world.peers[index].disk.decided:
        states.append(apply(states[-1], decided.block, world.notary.verify))
    return states


@pytest.mark.parametrize("tiers", MIXTURES, ids=str)
def test_every_root_advances_in_every_round(tiers: tuple[int | None, ...]) -> None:
    states = states_of(run(tiers))
    assert states[-1].phase is Phase.FINISHED
    assert all(one.param_roots == stub_param_roots(one.param_round) for one in states)
    in_training = {one.param_round for one in states if one.phase is Phase.TRAIN}
    assert in_training >= set(range(ROUNDS - 1))
    assert states[-1].param_round == ROUNDS


def test_those_without_a_model_are_seated_heard_and_paid_and_get_no_batch() -> None:
    world = run((0, 1, None, None))
    witnesses = {world.peer_id(2), world.peer_id(3)}
    for state in states_of(world):
        for opened in state.open_rounds:
            assert witnesses <= set(opened.committee)
            assert witnesses.isdisjoint(slot.trainer for slot in opened.slots)
    final = world.peers[2].state
    assert all(one.status is MemberStatus.ACTIVE for one in final.members)
    points = {account.peer: account.points for account in final.accounts}
    assert all(points[peer] >= ROUNDS for peer in witnesses)


def test_without_its_witnesses_a_trainer_has_no_quorum() -> None:
    """Three that only witness are a quorum's worth of four: one may be gone, two may not."""
    gone = [Fault(FaultKind.CRASH, 1500, 10 * LIMIT_MS, (index,)) for index in (2, 3)]
    one, both = (run((0, None, None, None), faults=tuple(gone[:count])) for count in (1, 2))
    assert one.peers[0].state.phase is Phase.FINISHED
    assert both.peers[0].state.phase is Phase.TRAIN


@pytest.mark.parametrize(
    ("tiers", "liars"),
    [
        ((0, 0, 0, 1), (1,)),
        ((0, 0, 1, 1), (2,)),
        ((0, 0, None, 2), (3,)),
        ((0, 0, 0, 0, 1, 1, 1), (0, 4)),
        ((0, 0, 0, 0, 1, 2, None), (6, 4)),
    ],
)
def test_liars_within_every_tiers_bound_move_no_root(
    tiers: tuple[int | None, ...], liars: tuple[int, ...]
) -> None:
    honest = next(index for index in range(len(tiers)) if index not in liars)
    states = states_of(run(tiers, liars), honest)
    assert states[-1].phase is Phase.FINISHED
    assert all(one.param_roots == stub_param_roots(one.param_round) for one in states)
    assert states[-1].param_round == ROUNDS


def test_a_lie_of_the_full_models_only_holder_ends_no_epoch_and_moves_no_other_root() -> None:
    states = states_of(run((0, 1, 1, 1), (0,), limit_ms=40_000), index=1)
    assert states[-1].phase is Phase.COOLDOWN
    assert states[-1].param_roots == stub_param_roots(0)


def test_a_holder_that_was_away_brings_the_full_model_to_its_end() -> None:
    away = Fault(FaultKind.CRASH, 1500, 20_000, (0,))
    world = run((0, 1, 1, 1), faults=(away,))
    assert world.peers[1].state.phase is Phase.FINISHED
    assert world.peers[1].state.param_roots == stub_param_roots(ROUNDS)


def test_most_random_schedules_mix_tiers_and_some_peers_have_no_model() -> None:
    schedules = [random_schedule(seed) for seed in range(200)]
    mixed = [one for one in schedules if len(set(one.tiers)) > 1]
    assert len(mixed) > 80
    assert {tier for one in mixed for tier in one.tiers} == {0, 1, 2, None}
    lying = [one for one in mixed for _, lies in one.liars if Lie.FALSE_PARAMETERS in lies]
    assert len(lying) > 20
