"""Which contributions count: every statement checked, a quorum, no copies, no doubles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from psyche_p2p.coordinator import (
    Pool,
    order_blobs,
)
from psyche_p2p.coordinator.pool import make_close_round
from psyche_p2p.coordinator.transition import apply_command
from psyche_p2p.errors import Rejected
from psyche_p2p.identity import verify
from psyche_p2p.ids import ParamRoot, RoundIndex
from psyche_p2p.wire import Attestation, Commitment, Withdraw
from psyche_p2p.wire.commands import Release
from psyche_p2p.wire.records import MemberStatus
from tests.coordinator.closing import (
    close,
    commitments_of,
    head,
    holding,
    in_training,
    points_of,
)
from tests.coordinator.world import (
    identity,
    make_commitment,
)


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


def test_the_agreed_parameters_are_in_the_state() -> None:
    world = in_training(rounds=3)
    assert world.state.param_round == 2
    opened, said = head(world), world.heard()
    lone = [replace(said.attestations[0].message, param_roots=(ParamRoot(b"\xff" * 32),) * 3)]
    attestations = (
        world.say(said.attestations[0].sender, lone[0]),
        *said.attestations[1:],
    )
    pool = replace(said, attestations=attestations)
    world.wait(1)
    world.decide(make_close_round(world.state, opened, pool))
    assert world.state.param_round == 3
    assert world.state.param_roots == said.attestations[1].message.param_roots


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
        (
            {"witnessings": (replace(witness, param_roots=witness.param_roots[1:]),)},
            "2 param roots of .*, its tier has 3",
        ),
    ]
    for changes, reason in faults:
        with pytest.raises(Rejected, match=reason):
            apply_command(world.state, replace(good, **changes), verify)
    apply_command(world.state, good, verify)


def test_the_word_of_a_witness_that_left_does_not_count() -> None:
    world = in_training(peers=5)
    command = close(world)
    leaver = head(world).committee[0]
    said = world.say(leaver, Withdraw(world.state.epoch, "", 2))
    world.decide(Release(leaver, said.message, said.signature))
    with pytest.raises(Rejected, match="no longer a member"):
        apply_command(world.state, command, verify)
    assert len(close(world).witnessings) == 4


def test_without_any_witness_left_nothing_is_accepted() -> None:
    """A quorum of nobody must not be had for nothing."""
    world = in_training(peers=5)
    gone = head(world).committee
    opened = replace(head(world), committee=(gone[0],))
    state = replace(world.state, open_rounds=(opened, *world.state.open_rounds[1:]))
    left = [
        replace(one, status=MemberStatus.WITHDRAWN) if one.peer == gone[0] else one
        for one in state.members
    ]
    world.state = replace(state, members=tuple(left))
    world.wait(60)
    command = close(world)
    assert len(command.contributions) == 5
    after = apply_command(replace(world.state, time_ms=world.clock_ms), command, verify)
    assert after.closed_rounds[-1].accepted == ()
    assert after.points_issued == 0


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
