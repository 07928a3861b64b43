"""The life of a run: phases, epochs, every way an epoch can end, pausing, finishing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from psyche_p2p.coordinator import committee_at, final_attestation
from psyche_p2p.coordinator.transition import apply_command
from psyche_p2p.errors import Rejected
from psyche_p2p.identity import verify
from psyche_p2p.ids import PeerId
from psyche_p2p.wire import Phase, Role, Withdraw
from psyche_p2p.wire.commands import (
    BeginTraining,
    CloseEpoch,
    Obey,
    OpenEpoch,
    PeerSignature,
    Release,
)
from psyche_p2p.wire.messages import OwnerAction, OwnerOrder
from tests.coordinator.world import World, admit, identity, make_config, make_join, param_roots

OWNER = identity(60)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("peers", [1, 2, 3, 4, 7])
def test_a_run_finishes_with_every_round_settled(depth: int, peers: int) -> None:
    world = World.start(make_config(rounds={"pipeline_depth": depth}), peers)
    world.run_until(Phase.FINISHED)
    assert world.settled_rounds() == list(range(20))
    assert world.state.closed_count == world.state.param_round == 20
    assert world.state.open_rounds == ()
    assert not world.step()


@pytest.mark.parametrize("depth", [0, 1])
def test_the_pipeline_keeps_its_depth(depth: int) -> None:
    world = World.start(make_config(rounds={"pipeline_depth": depth}))
    world.run_until(Phase.TRAIN)
    for closed in range(18):
        world.run_until(Phase.TRAIN, rounds=closed)
        rounds = [one.round for one in world.state.open_rounds]
        assert rounds == list(range(closed, closed + depth + 1))
        assert len({one.seed for one in world.state.open_rounds}) == depth + 1


def test_an_epoch_waits_for_enough_members_and_a_little_longer() -> None:
    config = make_config(members={"init_min_members": 3, "waiting_for_members_extra_s": 2.0})
    world = World.start(config, 2)
    world.wait(100)
    assert not world.step()
    newcomer = identity(3)
    world.decide(admit(newcomer, make_join(), world.run_id))
    world.wait(1.9)
    with pytest.raises(Rejected, match="too early by 100 ms"):
        world.decide(OpenEpoch(world.state.epoch))
    world.wait(0.1)
    assert world.step()
    assert world.state.phase is Phase.WARMUP
    assert newcomer.peer_id in {one.peer for one in world.state.entrants}


def test_witnesses_alone_open_no_epoch() -> None:
    """Or they would open and abandon one after another, and the log would never be silent."""
    world = World.start(make_config(), {1: make_join((Role.WITNESS,))})
    world.wait(100)
    assert not world.step()
    with pytest.raises(Rejected, match="with a trainer are needed"):
        world.decide(OpenEpoch(world.state.epoch))


def test_newcomers_vote_only_once_they_are_warm() -> None:
    world = World.start(make_config(), 2)
    newcomer = identity(3)
    world.decide(admit(newcomer, make_join(), world.run_id))
    world.run_until(Phase.WARMUP)
    assert newcomer.peer_id not in committee_at(world.state)
    world.run_until(Phase.TRAIN)
    assert newcomer.peer_id in committee_at(world.state)


def test_those_not_warm_in_time_stay_outside() -> None:
    world = World.start(make_config(), 4)
    sleeper = identity(4).peer_id
    world.dead.add(sleeper)
    world.run_until(Phase.WARMUP)
    world.wait(9)
    assert not world.step()
    world.wait(1)
    assert world.step()
    assert world.state.phase is Phase.TRAIN
    assert world.state.find_member(sleeper) is None


def test_too_few_warm_members_abandon_the_epoch() -> None:
    world = World.start(make_config(members={"min_members": 3, "init_min_members": 3}), 3)
    world.dead.add(identity(3).peer_id)
    world.run_until(Phase.WARMUP)
    world.wait(10)
    assert world.step()
    assert world.state.phase is Phase.WAITING_FOR_MEMBERS
    assert world.state.epoch == 0
    world.dead.clear()
    world.run_until(Phase.TRAIN)


def test_a_lying_proposer_cannot_begin_alone() -> None:
    """It leaves out what the others said, after the time is up: the epoch is abandoned."""
    world = World.start(make_config(), 4)
    world.run_until(Phase.WARMUP)
    world.wait(10)
    world.dead.update(one.peer for one in world.state.entrants[1:])
    assert world.step()
    assert world.state.phase is Phase.WAITING_FOR_MEMBERS
    assert len(committee_at(world.state)) == 4


def test_warm_means_with_the_parameters_of_the_epoch() -> None:
    world = World.start(make_config(), 1)
    world.run_until(Phase.WARMUP)
    peer = identity(1).peer_id
    wrong = world.say(peer, replace(world.heard().warm[0].message, param_round=1))
    command = BeginTraining(world.state.epoch, (PeerSignature(peer, wrong.signature),), (0, 0))
    with pytest.raises(Rejected, match="did not sign this Warm"):
        apply_command(world.state, command, verify)


def by_time(world: World) -> None:
    world.wait(1000)


def by_pause(world: World) -> None:
    order_pause(world, 1)


def by_too_few_members(world: World) -> None:
    leave(world, world.state.active_members[0].peer)


def by_nearly_all_leaving(world: World) -> None:
    for member in world.state.active_members[1:]:
        leave(world, member.peer)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("end", [by_time, by_pause, by_too_few_members, by_nearly_all_leaving])
def test_every_end_of_an_epoch_drains(depth: int, end: Callable[[World], None]) -> None:
    """Rounds that were open are settled, no samples are taken for rounds that are not trained."""
    config = make_config(
        run={"owner": OWNER.peer_id},
        members={"min_members": 4, "init_min_members": 4},
        rounds={"pipeline_depth": depth},
    )
    world = World.start(config, 4)
    world.run_until(Phase.TRAIN, rounds=3)
    opened, data_index = world.state.next_round, world.state.data_index
    end(world)
    world.run_until(Phase.COOLDOWN)
    assert world.settled_rounds() == list(range(opened))
    assert world.state.closed_count == world.state.next_round == opened
    assert world.state.data_index == data_index
    world.wait(5)
    assert world.step()
    assert world.state.param_round == opened


def test_the_cooldown_lasts_and_needs_a_quorum_for_one_root() -> None:
    world = World.start(make_config(rounds={"epoch_s": 61.0}), 4)
    world.run_until(Phase.TRAIN)
    world.wait(61)
    world.run_until(Phase.COOLDOWN)
    epoch, roots = world.state.epoch, world.heard().attestations[0].message.param_roots
    with pytest.raises(Rejected, match="too early"):
        world.decide(CloseEpoch(epoch, roots, ()))
    world.wait(5)
    with pytest.raises(Rejected, match="0 of 3 witnesses"):
        world.decide(CloseEpoch(epoch, roots, ()))
    world.dead.update(one.peer for one in world.state.active_members[:2])
    assert not world.step()
    world.dead.clear()
    assert world.step()
    assert (world.state.phase, world.state.epoch) == (Phase.WAITING_FOR_MEMBERS, 1)
    world.run_until(Phase.TRAIN)


def test_parameters_need_a_quorum_even_if_the_closing_committee_is_gone() -> None:
    world = World.start(make_config(run={"total_rounds": 1}), 5)
    world.run_until(Phase.COOLDOWN)
    world.wait(5)
    first = world.state.closing_committee[0]
    world.state = replace(world.state, closing_committee=(first,))
    leave(world, first)
    command = CloseEpoch(world.state.epoch, param_roots(9), ())
    with pytest.raises(Rejected, match="0 of 3 witnesses"):
        world.decide(command)
    final = final_attestation(world.state, param_roots(1))
    said = [world.say(member.peer, final) for member in world.state.active_members]
    world.pool = replace(world.pool, attestations=tuple(said))
    assert world.step()
    assert world.state.phase is Phase.FINISHED
    assert world.state.param_roots == param_roots(1)


def test_a_run_of_an_authority_alone_begins_when_trainers_come() -> None:
    config = make_config(committee={"authorities": [identity(50).peer_id]})
    world = World.start(config, {})
    for index in (1, 2):
        world.decide(admit(identity(index), make_join(), world.run_id))
    world.run_until(Phase.TRAIN, rounds=3)
    assert committee_at(world.state) == (identity(50).peer_id,)


def test_the_owner_pauses_and_resumes() -> None:
    world = World.start(make_config(run={"owner": OWNER.peer_id}), 4)
    world.run_until(Phase.TRAIN, rounds=2)
    order_pause(world, 1)
    assert world.state.phase is Phase.TRAIN
    world.run_until(Phase.PAUSED)
    world.wait(100)
    assert not world.step()
    order_resume(world, 2)
    assert world.state.cold_since_round == world.state.next_round > 0
    world.run_until(Phase.TRAIN)


def test_a_pause_is_immediate_when_nobody_trains_and_can_be_taken_back() -> None:
    world = World.start(make_config(run={"owner": OWNER.peer_id}), 4)
    order_pause(world, 1)
    assert world.state.phase is Phase.PAUSED
    order_resume(world, 2)
    world.run_until(Phase.WARMUP)
    order_pause(world, 3)
    assert world.state.phase is Phase.PAUSED
    assert len(world.state.applicants) == 4
    order_resume(world, 4)
    world.run_until(Phase.TRAIN)
    order_pause(world, 5)
    order_resume(world, 6)
    world.run_until(Phase.TRAIN, rounds=5)


def test_only_the_owner_orders_and_each_order_counts_once() -> None:
    world = World.start(make_config(run={"owner": OWNER.peer_id}), 4)
    order = OwnerOrder(OwnerAction.PAUSE, 1)
    stranger = world.say(identity(1).peer_id, order)
    with pytest.raises(Rejected, match="did not sign this OwnerOrder"):
        world.decide(Obey(order, stranger.signature))
    order_pause(world, 1)
    order_resume(world, 2)
    with pytest.raises(Rejected, match="not newer"):
        order_pause(world, 1)


def test_a_run_without_an_owner_is_not_paused() -> None:
    world = World.start(make_config(), 1)
    with pytest.raises(Rejected, match="no owner"):
        order_pause(world, 1)


def order_pause(world: World, nonce: int) -> None:
    give_order(world, OwnerOrder(OwnerAction.PAUSE, nonce))


def order_resume(world: World, nonce: int) -> None:
    give_order(world, OwnerOrder(OwnerAction.RESUME, nonce))


def give_order(world: World, order: OwnerOrder) -> None:
    world.decide(Obey(order, world.say(OWNER.peer_id, order).signature))


def leave(world: World, peer: PeerId) -> None:
    said = world.say(peer, Withdraw(world.state.epoch, "bye", 2))
    world.decide(Release(peer, said.message, said.signature))
    world.dead.add(peer)
