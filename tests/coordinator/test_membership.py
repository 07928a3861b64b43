"""Joining, leaving, and who may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from psyche_p2p.coordinator import committee_at, genesis_state, require_welcome
from psyche_p2p.coordinator.membership import eject
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import EpochIndex, PeerId, RunId, SchemaHash, Tier
from psyche_p2p.wire import Capabilities, Phase, Role, Withdraw
from psyche_p2p.wire.commands import Release
from psyche_p2p.wire.records import MemberStatus
from tests.coordinator.world import (
    SCHEMA,
    World,
    admit,
    identity,
    make_config,
    make_genesis,
    make_join,
)

NEWCOMER = identity(30)


def withdrawal(world: World, peer: PeerId, epoch: int | None = None, nonce: int = 2) -> Release:
    about = world.state.epoch if epoch is None else EpochIndex(epoch)
    said = world.say(peer, Withdraw(about, "bye", nonce))
    return Release(peer, said.message, said.signature)


def test_another_schema_is_refused_with_both_hashes() -> None:
    world = World.start(make_config())
    other = SchemaHash(bytes(range(32)))
    join = replace(make_join(), schema_hash=other)
    with pytest.raises(Rejected) as caught:
        world.decide(admit(NEWCOMER, join, world.run_id))
    assert other.hex() in str(caught.value)
    assert SCHEMA.hex() in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"roles": ()}, "at least one role"),
        ({"roles": (Role.WITNESS, Role.TRAINER)}, "rising order"),
        ({"roles": (Role.TRAINER, Role.TRAINER)}, "each once"),
        ({"tier": Tier(3)}, "tier 3, this run allows 0 to 2"),
        ({"addresses": ("/ip4/1.2.3.4/tcp/1",) * 9}, "9 addresses"),
        ({"addresses": ("x" * 257,)}, "at most 256 ASCII characters"),
        ({"addresses": ("/dns4/\u00e9",)}, "ASCII"),
        ({"capabilities": Capabilities(1, 1, "x" * 129)}, "more than 128 characters"),
    ],
)
def test_joins_that_mean_nothing(changes: dict[str, Any], reason: str) -> None:
    world = World.start(make_config())
    with pytest.raises(Rejected, match=reason):
        world.decide(admit(NEWCOMER, replace(make_join(), **changes), world.run_id))


def test_lists_of_invited_and_blocked_peers() -> None:
    peers = [identity(index).peer_id for index in range(1, 5)]
    invited = World.start(make_config(members={"allow": peers}))
    with pytest.raises(Rejected, match="not invited"):
        invited.decide(admit(NEWCOMER, make_join(), invited.run_id))
    blocking = World.start(make_config(members={"block": [NEWCOMER.peer_id]}))
    with pytest.raises(Rejected, match="blocked"):
        blocking.decide(admit(NEWCOMER, make_join(), blocking.run_id))


def test_a_join_is_the_peers_own_and_of_this_run() -> None:
    world = World.start(make_config())
    foreign = admit(NEWCOMER, make_join(), RunId(bytes(32)))
    with pytest.raises(Rejected, match="did not sign this Join"):
        world.decide(foreign)
    stolen = replace(admit(NEWCOMER, make_join(), world.run_id), peer=identity(31).peer_id)
    with pytest.raises(Rejected, match="did not sign this Join"):
        world.decide(stolen)


def test_the_newest_join_wins_and_old_ones_are_not_replayed() -> None:
    world = World.start(make_config())
    world.decide(admit(NEWCOMER, make_join(nonce=5, tier=1), world.run_id))
    for nonce in (4, 5):
        with pytest.raises(Rejected, match="not newer"):
            world.decide(admit(NEWCOMER, make_join(nonce=nonce), world.run_id))
    world.decide(admit(NEWCOMER, make_join(nonce=6, tier=2), world.run_id))
    joins = [one.join for one in world.state.applicants if one.peer == NEWCOMER.peer_id]
    assert [join.tier for join in joins] == [2]
    world.decide(withdrawal(world, NEWCOMER.peer_id, nonce=8))
    for nonce in (6, 8):
        with pytest.raises(Rejected, match="not newer"):
            world.decide(admit(NEWCOMER, make_join(nonce=nonce), world.run_id))


def test_a_joiner_in_the_middle_waits_for_the_next_epoch() -> None:
    world = World.start(make_config())
    world.run_until(Phase.TRAIN, rounds=2)
    world.decide(admit(NEWCOMER, make_join(), world.run_id))
    world.run_until(Phase.TRAIN, rounds=4)
    assert world.state.find_member(NEWCOMER.peer_id) is None
    world.wait(1000)
    world.run_until(Phase.COOLDOWN)
    world.run_until(Phase.TRAIN)
    assert world.state.find_member(NEWCOMER.peer_id) is not None


def test_a_member_that_leaves_is_not_waited_for() -> None:
    world = World.start(make_config(), 5)
    world.run_until(Phase.TRAIN, rounds=2)
    leaver = world.state.members[0].peer
    world.decide(withdrawal(world, leaver))
    world.dead.add(leaver)
    assert leaver not in committee_at(world.state)
    assert world.step()
    world.run_until(Phase.FINISHED)


@pytest.mark.parametrize("epoch", [1, 7])
def test_a_withdrawal_of_another_epoch_is_stale(epoch: int) -> None:
    world = World.start(make_config())
    with pytest.raises(Rejected, match=f"epoch {epoch}"):
        world.decide(withdrawal(world, world.state.members[0].peer, epoch))


def test_who_comes_back_is_not_sent_away_by_what_it_said_before() -> None:
    """Everyone has the withdrawal still, and it is of this epoch."""
    world = World.start(make_config(), 5)
    world.run_until(Phase.TRAIN, rounds=1)
    leaver = world.state.members[0].peer
    gone = withdrawal(world, leaver, nonce=2)
    world.decide(gone)
    with pytest.raises(Rejected, match="does not take part"):
        world.decide(gone)
    with pytest.raises(Rejected, match="not newer"):
        world.decide(admit(world.people[leaver], make_join(nonce=2), world.run_id))
    world.decide(admit(world.people[leaver], make_join(nonce=3), world.run_id))
    with pytest.raises(Rejected, match="has asked to join since"):
        world.decide(gone)
    assert leaver in {one.peer for one in world.state.applicants}
    world.decide(withdrawal(world, leaver, nonce=4))
    assert leaver not in {one.peer for one in world.state.applicants}


def test_only_those_who_take_part_can_leave_and_only_by_themselves() -> None:
    world = World.start(make_config())
    with pytest.raises(Rejected, match="does not take part"):
        world.decide(withdrawal(world, NEWCOMER.peer_id))
    release = withdrawal(world, world.state.members[0].peer)
    with pytest.raises(Rejected, match="did not sign this Withdraw"):
        world.decide(replace(release, peer=world.state.members[1].peer))


def test_the_last_voter_stays() -> None:
    world = World.start(make_config(), 2)
    first, last = (member.peer for member in world.state.members)
    world.decide(withdrawal(world, first))
    with pytest.raises(Rejected, match="last voter"):
        world.decide(withdrawal(world, last))


def test_more_applicants_than_places_are_chosen_by_rendezvous() -> None:
    config = make_config(members={"max_members": 6})
    world = World.start(config, 4)
    for index in range(20, 30):
        world.decide(admit(identity(index), make_join(), world.run_id))
    world.run_until(Phase.WARMUP)
    entrants = {one.peer for one in world.state.entrants}
    assert len(entrants) == 6
    assert entrants > {member.peer for member in world.state.members}
    assert len(world.state.applicants) == 8


def test_a_dropped_member_may_ask_again() -> None:
    world = World.start(make_config(run={"total_rounds": 40}), 5)
    world.run_until(Phase.TRAIN, rounds=1)
    lost = world.state.members[0].peer
    world.dead.add(lost)
    world.run_until(Phase.TRAIN, rounds=5)
    member = world.state.find_member(lost)
    assert member is not None
    assert member.status is MemberStatus.DROPPED
    world.dead.clear()
    who = world.people[lost]
    world.decide(admit(who, make_join(nonce=2), world.run_id))
    world.wait(1000)
    world.run_until(Phase.COOLDOWN)
    world.run_until(Phase.TRAIN)
    member = world.state.find_member(lost)
    assert member is not None
    assert member.status is MemberStatus.ACTIVE


def test_a_genesis_of_another_run_or_out_of_order_is_refused() -> None:
    config = make_config()
    genesis = make_genesis(config, {1: make_join(), 2: make_join()})
    with pytest.raises(Rejected, match="another run"):
        genesis_state(make_config(run={"name": "other", "total_rounds": 3}), genesis)
    with pytest.raises(Rejected, match="rising public key"):
        genesis_state(config, replace(genesis, founders=genesis.founders[::-1]))
    with pytest.raises(Rejected, match="at least one founder"):
        genesis_state(config, replace(genesis, founders=()))
    forged = replace(genesis.founders[0], join=make_join(nonce=9))
    with pytest.raises(Rejected, match="did not sign this Join"):
        genesis_state(config, replace(genesis, founders=(forged,)))


def test_who_can_never_be_admitted_is_told_why() -> None:
    invited = World.start(make_config(members={"allow": [identity(1).peer_id]}), 1)
    require_welcome(invited.state, identity(1).peer_id)
    with pytest.raises(Rejected, match=r"not invited \(members.allow\); only a run"):
        require_welcome(invited.state, NEWCOMER.peer_id)
    blocking = World.start(make_config(members={"block": [NEWCOMER.peer_id]}), 2)
    with pytest.raises(Rejected, match=r"blocked \(members.block\); only a run"):
        require_welcome(blocking.state, NEWCOMER.peer_id)
    state = World.start(make_config(), 2).state
    require_welcome(state, NEWCOMER.peer_id)
    ejected = eject(state, identity(1).peer_id)
    require_welcome(ejected, identity(2).peer_id)
    with pytest.raises(Rejected, match="ejected from this run for misconduct"):
        require_welcome(ejected, identity(1).peer_id)
