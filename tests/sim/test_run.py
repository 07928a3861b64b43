"""Agreement over the real state machine: authorities, membership changes, light verification."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psyche_p2p.consensus import (
    Agreement,
    Decided,
    EvidenceFound,
    IdentitySigner,
    InvalidChain,
    Memory,
    SignatureChecker,
    Timeouts,
    verify_chain,
)
from psyche_p2p.consensus.run import MAX_CLOCK_AHEAD_MS, RunApplication, make_ejection
from psyche_p2p.coordinator import Pool, State, encode_state
from psyche_p2p.ids import View
from psyche_p2p.sim.schedule import Fault, FaultKind, Lie, Schedule
from psyche_p2p.sim.world import World
from psyche_p2p.wire import Phase, Vote, VoteStep
from tests.consensus.test_admission import SIGNERS
from tests.consensus.toy import ToyPeer, make_proposal, make_vote
from tests.coordinator.world import START_MS, identity, make_config
from tests.coordinator.world import World as Coordinated


def _observer(state: State, world: World) -> RunApplication:
    """A light peer: it follows the log, says nothing, and owns no clock."""
    keys = world.peers[0].keys
    verify = world.notary.verify
    return RunApplication(state, keys.peer, keys.sign, Pool, 0, verify=verify)


def _run_with_a_dead_member(*, has_real_signatures: bool = False) -> World:
    fault = Fault(FaultKind.CRASH, at_ms=1500, duration_ms=10_000_000, peers=(2,))
    schedule = Schedule(seed=3, peers=4, rounds=8, faults=(fault,))
    world = World(replace(schedule, has_real_signatures=has_real_signatures))
    world.run(60_000)
    return world


@pytest.mark.parametrize("has_real_signatures", [False, True])
def test_a_light_peer_follows_the_log_through_a_drop(has_real_signatures: bool) -> None:
    world = _run_with_a_dead_member(has_real_signatures=has_real_signatures)
    disk = world.peers[0].disk
    observer = _observer(world.genesis, world)
    checker = SignatureChecker(world.run_id, world.notary.verify)
    assert len(observer.committee().members) == 4
    verify_chain(observer, disk.decided, checker)
    assert len(observer.committee().members) == 3
    assert encode_state(observer.state) == encode_state(disk.state)


def test_a_light_peer_names_the_block_that_was_tampered_with() -> None:
    world = _run_with_a_dead_member()
    blocks = list(world.peers[0].disk.decided)
    tampered = replace(blocks[4].block, time_ms=blocks[4].block.time_ms + 1)
    blocks[4] = replace(blocks[4], block=tampered)
    checker = SignatureChecker(world.run_id, world.notary.verify)
    with pytest.raises(InvalidChain) as caught:
        verify_chain(_observer(world.genesis, world), blocks, checker)
    assert caught.value.height == 5


def test_one_authority_decides_alone_for_all_members() -> None:
    """The centralized mode is the same code with a committee of one."""
    authority = identity(50)
    config = make_config(committee={"authorities": [authority.peer_id]})
    people = Coordinated.start(config, 3)
    app = RunApplication(people.state, authority.peer_id, authority.sign, people.heard, START_MS)
    signer = IdentitySigner(authority, people.run_id)
    checker = SignatureChecker(people.run_id)
    core = Agreement(app, signer, checker, Timeouts(), Memory(is_complete=True))
    now_ms = 0
    while app.state.closed_count < 2:
        now_ms += 500
        people.clock_ms = START_MS + now_ms
        if app.is_due(now_ms):
            core.on_due(now_ms)
            people.state = app.state
        assert now_ms < 600_000
    decided = [one.decided for one in core.take_effects() if isinstance(one, Decided)]
    assert {one.block.proposer for one in decided} == {authority.peer_id}
    assert all(len(one.certificate.signatures) == 1 for one in decided)
    assert len(app.state.active_members) == 3


def test_several_authorities_need_a_quorum_of_themselves() -> None:
    authorities = [identity(index).peer_id for index in range(50, 54)]
    config = make_config(committee={"authorities": authorities})
    state = Coordinated.start(config, 9).state
    app = RunApplication(state, authorities[0], identity(50).sign, Pool, 0)
    assert set(app.committee().members) == set(authorities)
    assert app.committee().quorum == 3
    assert app.proposer(View(2)) in authorities
    assert app.is_member(identity(3).peer_id)
    assert not app.is_member(identity(60).peer_id)


def test_a_block_from_the_future_is_untimely() -> None:
    people = Coordinated.start(make_config(), 4)
    people.wait(5)
    assert people.step()
    block = people.blocks[0]
    app = RunApplication(people.state, identity(1).peer_id, identity(1).sign, Pool, START_MS)
    at_ms = block.time_ms - START_MS
    assert app.find_untimely(block, at_ms - MAX_CLOCK_AHEAD_MS) is None
    assert "ahead of our clock" in str(app.find_untimely(block, at_ms - MAX_CLOCK_AHEAD_MS - 1))


def test_two_votes_make_an_ejection_and_two_proposals_do_not() -> None:
    first, second = (make_vote(SIGNERS[0], VoteStep.PREVOTE, value) for value in (None, None))
    command = make_ejection(EvidenceFound(SIGNERS[0].peer, first, second))
    assert command is not None
    assert isinstance(command.first, Vote)
    proposal = make_proposal(SIGNERS[1], ToyPeer(SIGNERS[3], [s.peer for s in SIGNERS]).app)
    assert make_ejection(EvidenceFound(SIGNERS[1].peer, proposal, proposal)) is None


@pytest.mark.parametrize(
    "lie", [Lie.DOUBLE_VOTER, Lie.EQUIVOCATING_TRAINER, Lie.EQUIVOCATING_PROPOSER]
)
def test_a_caught_liar_is_ejected_and_forfeits(lie: Lie) -> None:
    world = World(Schedule(seed=5, peers=4, rounds=24, liars=((1, (lie,)),)))
    result = world.run(120_000)
    assert result.is_finished
    account = world.peers[0].state.find_account(world.peer_id(1))
    assert account is not None
    assert account.is_banned
    assert account.epoch_points == 0


@pytest.mark.parametrize("lie", [Lie.COPYING_TRAINER, Lie.LYING_WITNESS, Lie.STALE_CLOSER])
def test_lies_about_work_gain_nothing_and_stop_nobody(lie: Lie) -> None:
    world = World(Schedule(seed=5, peers=7, rounds=6, liars=((1, (lie,)),)))
    result = world.run(120_000)
    assert result.violations == ()
    assert result.is_finished
    states = [peer.state for peer in world.peers if peer.is_honest]
    assert {state.phase for state in states} == {Phase.FINISHED}
    points = {account.peer: account.points for account in states[0].accounts}
    honest = [points[peer.keys.peer] for peer in world.peers if peer.is_honest]
    if lie is Lie.STALE_CLOSER:  # it trains like the others, and cheats when it proposes
        assert points[world.peer_id(1)] <= max(honest)
    else:
        assert points[world.peer_id(1)] < min(honest)
