"""When a peer may vote for a block: the rules on which safety rests, each a pure question.

Line numbers are those of algorithm 1 in arXiv 1807.04938 (Buchman, Kwon, Milosevic).
"""

from __future__ import annotations

from psyche_p2p.consensus.application import Application
from psyche_p2p.consensus.height import HeightState, HeldProposal
from psyche_p2p.ids import BlockHash, PeerId
from psyche_p2p.wire import Block, Proposal, VoteStep


def is_lock_satisfied(state: HeightState, held: HeldProposal) -> bool:
    """Whether our lock lets us prevote this proposal (lines 23 and 29).

    A lock is left only for a block that gained a quorum of prevotes in a view after the lock's.
    """
    if state.locked_view is None or state.locked_hash == held.block_hash:
        return True
    valid_view = held.proposal.valid_view
    return valid_view is not None and state.locked_view <= valid_view


def is_proof_complete(state: HeightState, held: HeldProposal) -> bool:
    """Whether a repeated block's quorum of prevotes has been seen here too (line 28)."""
    valid_view = held.proposal.valid_view
    return valid_view is None or state.has_quorum(valid_view, VoteStep.PREVOTE, held.block_hash)


def lock(state: HeightState, block_hash: BlockHash) -> None:
    """Bind ourselves to a block (lines 38 and 39)."""
    state.locked_view, state.locked_hash = state.view, block_hash


def find_proposal_fault(proposal: Proposal, sender: PeerId, app: Application) -> str | None:
    """Why this proposal is not one its sender may make; None if it is well-formed."""
    block, view = proposal.block, proposal.view
    if sender != app.proposer(view):
        return "not the proposer of this view"
    if proposal.valid_view is None and block.view != view:
        return "a new block of another view"
    if proposal.valid_view is not None and not block.view <= proposal.valid_view < view:
        return "the views of a repeated block are out of order"
    return find_block_fault(block, app)


def find_block_fault(block: Block, app: Application) -> str | None:
    """Why this block cannot be the next one whatever it contains; None if it may be."""
    if block.height != app.height:
        return f"a block of height {block.height}, not {app.height}"
    if block.prev_hash != app.head:
        return "does not follow the last decided block"
    if block.proposer != app.proposer(block.view):
        return "the block's proposer was not the proposer of its view"
    return None


def get_block_fault(state: HeightState, held: HeldProposal, app: Application) -> str | None:
    """What the application finds wrong with a block, asked once a block."""
    if held.block_hash not in state.faults:
        state.faults[held.block_hash] = app.find_fault(held.block)
    return state.faults[held.block_hash]
