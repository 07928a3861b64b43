"""Closing rounds: what is accepted, when, who is dropped, what is paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from psyche_p2p.coordinator import (
    AnyCommand,
    Pool,
    Signed,
    due_commands,
    due_times_ms,
    order_blobs,
    proposer_at,
)
from psyche_p2p.coordinator.ledger import contribution_points, total_points
from psyche_p2p.coordinator.pool import make_close_round
from psyche_p2p.coordinator.transition import apply_command
from psyche_p2p.errors import Rejected
from psyche_p2p.identity import verify
from psyche_p2p.ids import ParamRoot, PeerId, RoundIndex, View
from psyche_p2p.wire import Attestation, Commitment, Phase, Role, Withdraw
from psyche_p2p.wire.commands import CloseRound, Release
from psyche_p2p.wire.records import MemberStatus, OpenRound
from tests.coordinator.world import (
    World,
    identity,
    make_commitment,
    make_config,
    make_join,
)


def in_training(peers: int = 4, rounds: int = 0, **sections: Any) -> World:
    world = World.start(make_config(**sections), peers)
    world.run_until(Phase.TRAIN, rounds=rounds)
    return world


def head(world: World) -> OpenRound:
    opened = world.state.head_round
    assert opened is not None
    return opened


def close(world: World, **changes: Any) -> CloseRound:
    return replace(make_close_round(world.state, head(world), world.heard()), **changes)


def holding(world: World, witness: PeerId, commitments: Sequence[Signed]) -> Signed:
    held = [(one.sender, one.message) for one in commitments]
    return world.say(witness, world.attestation(head(world), held))


def commitments_of(world: World) -> list[Signed]:
    opened = head(world)
    return [
        world.say(slot.trainer, make_commitment(world.state, opened, slot)) for slot in opened.slots
    ]


def points_of(world: World, peer: PeerId) -> int:
    account = world.state.find_account(peer)
    assert account is not None
    return account.epoch_points


def test_a_contribution_counts_only_with_a_quorum_of_the_committee() -> None:
    world = in_training()
    opened, said = head(world), commitments_of(world)
    witnesses = opened.committee
    attestations = [holding(world, one, said) for one in witnesses[:2]]
    attestations += [holding(world, one, said[1:]) for one in witnesses[2:]]
    pool = Pool(commitments=tuple(said), attestations=tuple(attestations))
    command = make_close_round(world.state, opened, pool)
    with pytest.raises(Rejected, match="batches that can be expected have not come"):
        world.decide(command)
    world.wait(60)
    world.decide(command)
    missed = {one.peer: one.missed_rounds for one in world.state.members}
    assert missed.pop(opened.slots[0].trainer) == 1
    assert set(missed.values()) == {0}


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


def test_of_two_equal_payloads_the_later_in_the_rounds_order_is_a_copy() -> None:
    world = in_training()
    opened, said = head(world), commitments_of(world)
    copied: Commitment = replace(said[2].message, payload_hash=said[1].message.payload_hash)
    said[2] = world.say(said[2].sender, copied)
    attestations = tuple(holding(world, one, said) for one in opened.committee)
    command = make_close_round(
        world.state, opened, Pool(commitments=tuple(said), attestations=attestations)
    )
    world.wait(60)
    world.decide(command)
    assert points_of(world, opened.slots[1].trainer) > 100
    assert points_of(world, opened.slots[2].trainer) == 3


def test_two_commitments_to_a_batch_eject_and_harm_nobody_else() -> None:
    """Witnesses that saw different ones still count for everything else they hold."""
    world = in_training(rounds=1)
    opened, said = head(world), commitments_of(world)
    liar = said[0].sender
    other = world.say(liar, make_commitment(world.state, opened, opened.slots[0], b"other"))
    attestations = [holding(world, one, said) for one in opened.committee[:2]]
    attestations += [holding(world, one, [other, *said[1:]]) for one in opened.committee[2:]]
    pool = Pool(commitments=(*said, other), attestations=tuple(attestations))
    world.wait(60)
    earned = points_of(world, liar)
    world.decide(make_close_round(world.state, opened, pool))
    account, member = world.state.find_account(liar), world.state.find_member(liar)
    assert account is not None
    assert member is not None
    assert account.is_banned
    assert member.status is MemberStatus.EJECTED
    assert world.state.points_forfeited >= earned > 0
    assert all(one.missed_rounds == 0 for one in world.state.active_members)


def test_of_two_commitments_neither_is_accepted_even_if_a_quorum_holds_one() -> None:
    world = in_training(rounds=1)
    opened, said = head(world), commitments_of(world)
    liar = said[0].sender
    other = world.say(liar, make_commitment(world.state, opened, opened.slots[0], b"other"))
    attestations = [holding(world, one, said) for one in opened.committee[:3]]
    attestations.append(holding(world, opened.committee[3], [other, *said[1:]]))
    pool = Pool(commitments=(*said, other), attestations=tuple(attestations))
    world.wait(60)
    world.decide(make_close_round(world.state, opened, pool))
    accepted = [blob.trainer for blob in world.state.closed_rounds[-1].accepted]
    assert accepted == [one.sender for one in said[1:]]


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


def test_the_agreed_parameters_are_in_the_state() -> None:
    world = in_training(rounds=3)
    assert world.state.param_round == 2
    opened, said = head(world), world.heard()
    lone = [replace(said.attestations[0].message, param_root=ParamRoot(b"\xff" * 32))]
    attestations = (
        world.say(said.attestations[0].sender, lone[0]),
        *said.attestations[1:],
    )
    pool = replace(said, attestations=attestations)
    world.wait(1)
    world.decide(make_close_round(world.state, opened, pool))
    assert world.state.param_round == 3
    assert world.state.param_root == said.attestations[1].message.param_root


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


def test_contributions_and_witnesses_are_checked_one_by_one() -> None:
    world = in_training()
    good = close(world)
    first, second = good.contributions[:2]
    witness = good.witnessings[0]
    faults: list[tuple[dict[str, Any], str]] = [
        ({"contributions": (second, first)}, "rising order"),
        ({"contributions": (first, first)}, "rising order"),
        ({"contributions": (replace(first, slot=99),)}, "slot 99 of 4"),
        ({"contributions": (replace(first, size_bytes=0),)}, "0 bytes"),
        ({"contributions": (replace(first, size_bytes=2**40),)}, "bytes, 1 to"),
        ({"contributions": (replace(first, tokens_per_s=5),)}, "did not sign this Commitment"),
        ({"contributions": (replace(first, slot=1),)}, "did not sign this Commitment"),
        ({"witnessings": (witness, witness)}, "rising order"),
        ({"witnessings": (replace(witness, witness=9),)}, "witness 9 of 4"),
        ({"witnessings": (replace(witness, held=b""),)}, "bits are not those"),
        ({"witnessings": (replace(witness, held=b"\xff"),)}, "bits are not those"),
        ({"witnessings": (replace(witness, held=b"\x07"),)}, "did not sign this Attestation"),
        (
            {"witnessings": (replace(witness, param_round=RoundIndex(5)),)},
            "rounds that are not settled",
        ),
        ({"witnessings": (replace(witness, witness=1),)}, "did not sign this Attestation"),
    ]
    for changes, reason in faults:
        with pytest.raises(Rejected, match=reason):
            apply_command(world.state, replace(good, **changes), verify)
    apply_command(world.state, good, verify)


def test_the_word_of_a_witness_that_left_does_not_count() -> None:
    world = in_training(peers=5)
    command = close(world)
    leaver = head(world).committee[0]
    said = world.say(leaver, Withdraw(world.state.epoch, ""))
    world.decide(Release(leaver, said.message, said.signature))
    with pytest.raises(Rejected, match="no longer a member"):
        apply_command(world.state, command, verify)
    assert len(close(world).witnessings) == 4


def test_a_stale_attestation_is_not_accepted() -> None:
    """The same statement about the round before has other bytes, so its signature does not fit."""
    world = in_training(rounds=0)
    old = close(world).witnessings[0]
    world.step()
    command = close(world)
    stale = (replace(old, param_round=command.witnessings[0].param_round),)
    with pytest.raises(Rejected, match="did not sign this Attestation"):
        world.decide(replace(command, witnessings=stale + command.witnessings[1:]))


def test_the_pool_ignores_what_a_block_cannot_express() -> None:
    world = in_training()
    opened, said = head(world), world.heard()
    attestation: Attestation = said.attestations[0].message
    backwards = replace(attestation, blobs=attestation.blobs[::-1])
    stranger = identity(40).peer_id
    foreign = replace(attestation, round=RoundIndex(9))
    odd = (
        world.say(said.attestations[0].sender, backwards),
        world.say(stranger, attestation),
        world.say(said.attestations[1].sender, foreign),
    )
    pool = replace(said, attestations=odd + said.attestations[2:])
    command = make_close_round(world.state, opened, pool)
    assert len(command.witnessings) == 2
    assert order_blobs(backwards.blobs) == attestation.blobs


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
