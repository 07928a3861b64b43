"""Faults that were found by reading Psyche's coordinator, each shown to be impossible here.

The numbers are those of the list in docs/design.md, "What was learned from Psyche". Those that
concern training, data or the command line are tested beside that code.
"""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random
from typing import Any

import pytest

from psyche_p2p.coordinator import Pool, apply, build_block, committee_at, due_commands, quorum_at
from psyche_p2p.coordinator.epochs import warm_statement
from psyche_p2p.coordinator.pool import make_close_round
from psyche_p2p.coordinator.rules import rules_of
from psyche_p2p.coordinator.schedule import compute_learning_rate_bits
from psyche_p2p.coordinator.transition import apply_command
from psyche_p2p.errors import Rejected
from psyche_p2p.identity import verify
from psyche_p2p.ids import BatchInterval, View
from psyche_p2p.wire import Commitment, Phase
from psyche_p2p.wire.commands import (
    BeginTraining,
    CloseRound,
    EjectForCommitments,
    PeerSignature,
)
from psyche_p2p.wire.records import MemberStatus
from tests.coordinator.world import (
    World,
    identity,
    make_commitment,
    make_config,
    make_join,
    param_roots,
)


def training(peers: int = 4, settled: int = 0, **sections: Any) -> World:
    world = World.start(make_config(**sections), peers)
    world.run_until(Phase.TRAIN, rounds=settled)
    return world


def close(world: World, pool: Pool | None = None) -> CloseRound:
    opened = world.state.head_round
    assert opened is not None
    return make_close_round(world.state, opened, pool or world.heard())


def test_weakness_1_every_field_of_a_commitment_is_signed() -> None:
    """The blob hash covers the blob's header (shapes, grid, types); the signature all the rest."""
    world = training()
    command = close(world)
    first = command.contributions[0]
    for field in fields(first):
        value = getattr(first, field.name)
        other = value + 1 if isinstance(value, int) else bytes(len(value))
        change: dict[str, Any] = {field.name: other}
        contributions = (replace(first, **change), *command.contributions[1:])
        with pytest.raises(Rejected):
            apply_command(world.state, replace(command, contributions=contributions), verify)


def test_weakness_2_a_witness_names_exactly_what_it_holds() -> None:
    """No filter with false positives, and setting every bit is another statement."""
    world = training()
    heard = world.heard()
    opened = world.state.head_round
    assert opened is not None
    partial = [(one.sender, one.message) for one in heard.commitments[:2]]
    modest = world.say(opened.committee[0], world.attestation(opened, partial, opened.committee[0]))
    pool = replace(heard, attestations=(modest, *heard.attestations[1:]))
    command = close(world, pool)
    assert command.witnessings[0].held == b"\x03"
    greedy = replace(command.witnessings[0], held=b"\x0f")
    witnessings = (greedy, *command.witnessings[1:])
    with pytest.raises(Rejected, match="did not sign this Attestation"):
        apply_command(world.state, replace(command, witnessings=witnessings), verify)


@pytest.mark.parametrize("seed", range(5))
def test_weakness_3_the_order_of_arrival_decides_nothing(seed: int) -> None:
    """Two commitments compete and messages come in any order: one result, the roots compared."""
    world = training(settled=1)
    opened = world.state.head_round
    assert opened is not None
    rival = make_commitment(world.state, opened, opened.slots[0], b"rival")
    heard = world.heard()
    pool = replace(
        heard, commitments=(*heard.commitments, world.say(opened.slots[0].trainer, rival))
    )
    shuffled = list(pool.commitments), list(pool.attestations)
    for statements in shuffled:
        Random(seed).shuffle(statements)
    other = replace(pool, commitments=tuple(shuffled[0]), attestations=tuple(shuffled[1]))
    assert close(world, pool) == close(world, other)
    world.step()
    assert (world.state.param_round, world.state.param_roots) == (1, param_roots(1))


@pytest.mark.parametrize("depth", [0, 1])
def test_weakness_5_the_last_rounds_are_settled_and_no_sample_is_wasted(depth: int) -> None:
    """Every way an epoch ends is in test_epochs; here the end of the run itself."""
    world = training(run={"total_rounds": 5}, rounds={"pipeline_depth": depth})
    taken: set[int] = set()
    while world.state.phase is not Phase.FINISHED:
        for opened in world.state.open_rounds:
            for slot in opened.slots:
                taken.update(range(slot.batch.start, slot.batch.end))
        if not world.step():
            world.wait(1)
    assert world.settled_rounds() == list(range(5))
    assert world.state.param_round == 5
    assert taken == set(range(world.state.data_index)) == set(range(5 * 24))


def test_weakness_6_newcomers_check_parameters_against_the_log() -> None:
    """The root comes from a quorum of witnesses, not from the peer that serves the parameters."""
    world = training(settled=3)
    lie = replace(world.heard().attestations[0].message, param_roots=param_roots(99))
    liar = world.heard().attestations[0].sender
    pool = world.heard()
    pool = replace(pool, attestations=(world.say(liar, lie), *pool.attestations[1:]))
    world.decide(close(world, pool))
    assert world.state.param_roots == param_roots(3)


def test_weakness_7_warm_reports_are_checked_for_membership() -> None:
    world = World.start(make_config(), 4)
    world.run_until(Phase.WARMUP)
    stranger = identity(40).peer_id
    said = world.say(stranger, warm_statement(world.state))
    command = BeginTraining(world.state.epoch, (PeerSignature(stranger, said.signature),), (0, 0))
    with pytest.raises(Rejected, match="is not entering this epoch"):
        apply_command(world.state, command, verify)


def test_weakness_8_a_quorum_is_enough_and_is_one_of_the_committee() -> None:
    """One silent witness holds nothing up; two of seven attestations are never a quorum."""
    world = training(7, settled=2)
    heard = world.heard()
    world.wait(1)
    world.decide(close(world, replace(heard, attestations=heard.attestations[:5])))
    few = replace(world.heard(), attestations=world.heard().attestations[:2])
    with pytest.raises(Rejected, match="0 of 7 batches"):
        world.decide(close(world, few))


def test_weakness_8_one_dead_peer_does_not_cost_the_deadline_in_every_round() -> None:
    config = make_config(rounds={"max_round_train_s": 900.0, "epoch_s": 10_000.0})
    world = World.start(config, 5)
    world.run_until(Phase.TRAIN)
    for _ in range(3):
        world.wait(10)
        assert world.step()
    world.dead.add(world.state.members[0].peer)
    since = world.clock_ms
    for _ in range(5):
        world.wait(10)
        while not world.step():
            world.wait(0.5)
    assert world.clock_ms - since < 100_000


def test_weakness_9_no_clock_goes_into_the_seed() -> None:
    """The same commands at any time draw the same seed; another proposer draws another."""
    world = World.start(make_config(), 4)
    world.wait(2)
    commands = due_commands(world.state, world.heard(), world.clock_ms)
    seeds = set()
    for _ in range(5):
        world.wait(1)
        block = world.propose(commands)
        seeds.add(apply(world.state, block).seed)
    assert len(seeds) == 1
    assert world.propose(commands, view=1).seed not in seeds
    stranger = world.people[identity(40).peer_id]
    forged = build_block(
        world.state, View(0), block.proposer, stranger.sign, commands, world.clock_ms
    )
    with pytest.raises(Rejected, match="did not sign the previous seed"):
        apply(world.state, forged)


def test_weakness_10_misconduct_is_punished() -> None:
    world = training(5, settled=3)
    opened = world.state.head_round
    assert opened is not None
    slot = opened.slots[0]
    first = make_commitment(world.state, opened, slot)
    second: Commitment = make_commitment(world.state, opened, slot, b"second")
    said, again = world.say(slot.trainer, first), world.say(slot.trainer, second)
    before = world.state.find_account(slot.trainer)
    world.decide(EjectForCommitments(slot.trainer, first, said.signature, second, again.signature))
    member, account = world.state.find_member(slot.trainer), world.state.find_account(slot.trainer)
    assert before is not None
    assert member is not None
    assert account is not None
    assert member.status is MemberStatus.EJECTED
    assert (account.epoch_points, account.points) == (0, before.points)
    assert world.state.points_forfeited == before.epoch_points > 0


def test_weakness_11_members_are_found_by_name_after_one_in_the_middle_left() -> None:
    world = training(6, settled=2)
    peers = [member.peer for member in world.state.members]
    world.dead.add(peers[2])
    world.run_until(Phase.TRAIN, rounds=6)
    by_name = {member.peer: member.status for member in world.state.members}
    assert by_name.pop(peers[2]) is MemberStatus.DROPPED
    assert set(by_name.values()) == {MemberStatus.ACTIVE}
    points = {account.peer: account.epoch_points for account in world.state.accounts}
    assert points[peers[2]] < min(points[peer] for peer in by_name)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_weakness_12_the_learning_rate_stays_at_its_end(kind: str) -> None:
    rules = rules_of(make_config(schedule={"kind": kind, "learning_rate": 1e-3}))
    last = compute_learning_rate_bits(rules, 20, 0)
    assert {compute_learning_rate_bits(rules, index, 0) for index in range(20, 200)} == {last}


def test_weakness_13_a_batch_is_never_empty_and_never_given_twice() -> None:
    """Fewer samples than trainers leave some without a batch; none is invented."""
    world = training(7, rounds={"global_batch_size_start": 3, "global_batch_size_end": 3})
    for opened in world.state.open_rounds:
        assert len(opened.slots) == 3
        assert [slot.batch.size for slot in opened.slots] == [1, 1, 1]
    with pytest.raises(ValueError, match="start < end"):
        BatchInterval(3, 3)
    world.run_until(Phase.FINISHED)


def test_weakness_15_members_decide_themselves_and_slow_hardware_gets_less() -> None:
    joins = {index: make_join(tokens_per_s=100 if index == 1 else 1000) for index in range(1, 60)}
    config = make_config(
        rounds={
            "equal_batches": False,
            "global_batch_size_start": 590,
            "global_batch_size_end": 590,
        }
    )
    world = World.start(config, joins)
    assert len(committee_at(world.state)) == 32
    assert quorum_at(world.state) == 22
    world.run_until(Phase.TRAIN)
    assert len(world.state.members) == 59
    sizes = {slot.trainer: slot.batch.size for slot in world.state.open_rounds[0].slots}
    slow = sizes.pop(identity(1).peer_id)
    assert 0 < slow < min(sizes.values()) / 2
