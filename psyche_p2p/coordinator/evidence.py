"""Proofs of misconduct, each enough by itself for anyone to check, and the ejection they cause."""

from __future__ import annotations

from psyche_p2p.coordinator.membership import eject
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.coordinator.require import require_epoch, require_rising
from psyche_p2p.coordinator.signed import Verify, require_signed
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import PeerId, short_id
from psyche_p2p.wire.commands import EjectForCommitments, EjectForVerdicts, EjectForVotes
from psyche_p2p.wire.messages import Verdict


def apply_eject_for_votes(state: State, command: EjectForVotes, verify: Verify) -> State:
    """A voter that voted twice in one step of one view."""
    first, second = command.first, command.second
    if (first.height, first.view, first.step) != (second.height, second.view, second.step):
        raise Rejected("these votes are not of the same step")
    if first.block_hash == second.block_hash:
        raise Rejected("these votes agree")
    require_signed(verify, state.run_id, command.peer, first, command.first_signature)
    require_signed(verify, state.run_id, command.peer, second, command.second_signature)
    return eject(state, command.peer)


def apply_eject_for_commitments(
    state: State, command: EjectForCommitments, verify: Verify
) -> State:
    """A trainer that committed to two contributions for one batch."""
    first, second = command.first, command.second
    same_batch = first.batch == second.batch
    if not same_batch or (first.epoch, first.round) != (second.epoch, second.round):
        raise Rejected("these commitments are not to the same batch")
    if first == second:
        raise Rejected("these commitments agree")
    require_signed(verify, state.run_id, command.peer, first, command.first_signature)
    require_signed(verify, state.run_id, command.peer, second, command.second_signature)
    return eject(state, command.peer)


def apply_eject_for_verdicts(state: State, command: EjectForVerdicts, verify: Verify) -> State:
    """A trainer whose contribution a quorum of those who could run it again did not find."""
    if not state.rules.verification_percent:
        raise Rejected("nobody's work is verified in this run")
    require_epoch(state, command.epoch)
    jury = eligible_jurors(state, command)
    jurors = [verdict.juror for verdict in command.verdicts]
    require_rising(jurors, "jurors")
    strangers = [juror for juror in jurors if juror not in jury]
    if strangers:
        raise Rejected(f"{short_id(strangers[0])} is not on this batch's jury")
    if not jurors or len(jurors) < compute_quorum(len(jury)):
        raise Rejected(f"{len(jurors)} verdicts of {compute_quorum(len(jury))} needed")
    for verdict in command.verdicts:
        statement = _rejecting_verdict(command, verdict.agreement_ppm)
        require_signed(verify, state.run_id, verdict.juror, statement, verdict.signature)
    return eject(state, command.peer)


def eligible_jurors(state: State, command: EjectForVerdicts) -> frozenset[PeerId]:
    """Active jurors of the round, other than the accused, who hold its tier of the model."""
    accused = state.find_member(command.peer)
    if accused is None:
        raise Rejected(f"{short_id(command.peer)} is not a member of this epoch")
    juries = {one.round: one.jury for one in state.closed_rounds}
    juries.update({one.round: one.jury for one in state.open_rounds})
    if command.round not in juries:
        raise Rejected(f"round {command.round} is not one of the last rounds")
    able = frozenset(
        member.peer
        for member in state.active_members
        if member.join.tier <= accused.join.tier and member.peer != command.peer
    )
    return able.intersection(juries[command.round])


def _rejecting_verdict(command: EjectForVerdicts, agreement_ppm: int) -> Verdict:
    return Verdict(
        epoch=command.epoch,
        round=command.round,
        batch=command.batch,
        trainer=command.peer,
        blob_hash=command.blob_hash,
        agreement_ppm=agreement_ppm,
        accepted=False,
    )
