"""What becomes of a message for the height being decided: cheapest checks first, then storage.

Nothing is stored before the last check has passed, so a refused message leaves no trace.
"""

from __future__ import annotations

from dataclasses import replace

from psyche_p2p.consensus import rules
from psyche_p2p.consensus.application import Application
from psyche_p2p.consensus.effects import (
    ACCEPTED,
    EvidenceFound,
    Judgement,
    Verdict,
    ignore,
    reject,
)
from psyche_p2p.consensus.height import MAX_PROPOSAL_VIEWS_AHEAD, HeightState, Step
from psyche_p2p.wire import Envelope, Proposal, Vote, VoteStep


def take_in(state: HeightState, envelope: Envelope, app: Application) -> Verdict:
    """Judge a proposal or vote of this height and keep it if it is of use."""
    if envelope.sender not in state.committee.voters:
        return reject("the sender is not in this height's committee")
    message: Vote | Proposal = envelope.message
    if isinstance(message, Vote):
        return take_vote(state, envelope, message)
    return _take_proposal(state, envelope, message, app)


def take_vote(state: HeightState, envelope: Envelope, vote: Vote) -> Verdict:
    """Count a committee member's vote, once a value.

    A second value of one voter is evidence. It is counted all the same if it is one that a quorum
    may stand behind: for no block, or for a block that we know.
    """
    tally = state.votes.tally(vote.view, vote.step)
    if tally.has_counted(envelope.sender, vote.block_hash):
        return ignore("known")
    known = tally.voters.get(envelope.sender)
    verdict = ACCEPTED if known is None else _accuse(state, known, envelope)
    is_plausible = vote.block_hash is None or state.find_block(vote.block_hash) is not None
    if known is not None and not is_plausible:
        return verdict
    if not state.votes.has_room(envelope.sender, vote.view, state.view):
        return ignore("too many views of this voter are kept already")
    _count(state, envelope, vote)
    return ACCEPTED if verdict.evidence is None else replace(verdict, judgement=Judgement.ACCEPT)


def _count(state: HeightState, envelope: Envelope, vote: Vote) -> None:
    tally = state.votes.add(envelope, state.view)
    is_decided = tally.count(vote.block_hash) >= state.committee.quorum
    if vote.step is VoteStep.PRECOMMIT and vote.block_hash is not None and is_decided:
        state.decidable = (vote.view, vote.block_hash)


def is_turning_point(state: HeightState, message: Vote | Proposal) -> bool:
    """Whether a message just taken in can have made any rule apply; most votes cannot."""
    if isinstance(message, Proposal) or not state.is_active or message.view > state.view:
        return True
    if state.step is Step.PROPOSE and message.step is VoteStep.PREVOTE:
        return True
    return state.has_any_quorum(message.view, message.step)


def _take_proposal(
    state: HeightState, envelope: Envelope, proposal: Proposal, app: Application
) -> Verdict:
    if proposal.view > state.view + MAX_PROPOSAL_VIEWS_AHEAD:
        return ignore("a view too far ahead")
    fault = rules.find_proposal_fault(proposal, envelope.sender, app)
    if fault is not None:
        return reject(fault)
    known = state.proposals.get(proposal.view)
    if known is not None:
        is_same = known.proposal == proposal
        return ignore("known") if is_same else _accuse(state, known.envelope, envelope)
    state.hold_proposal(envelope)
    return ACCEPTED


def _accuse(state: HeightState, known: Envelope, envelope: Envelope) -> Verdict:
    """Refuse a contradiction, with the proof of it the first time at this height."""
    reason = "contradicts an earlier statement of the same peer"
    if envelope.sender in state.accused:
        return reject(reason)
    state.accused.add(envelope.sender)
    return reject(reason, EvidenceFound(envelope.sender, known, envelope))
