"""What a peer knows at the height being decided: where it is, what binds it, what it heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from psyche_p2p.consensus.application import Committee
from psyche_p2p.consensus.blocks import compute_block_hash
from psyche_p2p.consensus.timeouts import TimerKind
from psyche_p2p.consensus.votes import VoteBook
from psyche_p2p.ids import BlockHash, Height, PeerId, View
from psyche_p2p.wire import Block, Envelope, Proposal, VoteStep

MAX_PROPOSAL_VIEWS_AHEAD = 8
"""Proposals of later views are kept this far ahead: a block is large, and a view has one."""
MAX_PROPOSAL_VIEWS_BEHIND = 16
_FIRST_VIEW = View(0)


class Step(IntEnum):
    """How far into a view a peer is."""

    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3


@dataclass(frozen=True, slots=True)
class HeldProposal:
    """A proposal whose sender and shape were checked, its block hashed."""

    envelope: Envelope
    block_hash: BlockHash

    @property
    def proposal(self) -> Proposal:
        message: Proposal = self.envelope.message
        return message

    @property
    def block(self) -> Block:
        return self.proposal.block


@dataclass(slots=True)
class HeightState:
    """Locks and valid values are those of arXiv 1807.04938; a fresh height has neither."""

    height: Height
    committee: Committee
    view: View = _FIRST_VIEW
    step: Step = Step.PROPOSE
    is_active: bool = False
    """The block is due, or others act as if it were: timers run."""
    locked_view: View | None = None
    locked_hash: BlockHash | None = None
    valid_view: View | None = None
    valid: HeldProposal | None = None
    votes: VoteBook = field(default_factory=VoteBook)
    proposals: dict[View, HeldProposal] = field(default_factory=dict)
    faults: dict[BlockHash, str | None] = field(default_factory=dict)
    """What the application said about a block, asked once."""
    deadlines: dict[TimerKind, int] = field(default_factory=dict)
    accused: set[PeerId] = field(default_factory=set)
    """Peers caught in a contradiction at this height; one proof each is enough."""
    decidable: tuple[View, BlockHash] | None = None
    """A quorum has precommitted this block; it may still have to be fetched."""

    def hold_proposal(self, envelope: Envelope) -> HeldProposal:
        """Keep a proposal, and forget those of views long past."""
        message: Proposal = envelope.message
        held = HeldProposal(envelope, compute_block_hash(message.block))
        self.proposals[message.view] = held
        self.votes.note_view(envelope.sender, message.view)
        for view in [v for v in self.proposals if v < self.view - MAX_PROPOSAL_VIEWS_BEHIND]:
            if view != self.valid_view:
                del self.proposals[view]
        return held

    def find_block(self, block_hash: BlockHash) -> HeldProposal | None:
        """A proposal of this block, whatever its view."""
        if self.valid is not None and self.valid.block_hash == block_hash:
            return self.valid
        matching = (held for held in self.proposals.values() if held.block_hash == block_hash)
        return next(matching, None)

    def has_quorum(self, view: View, step: VoteStep, block_hash: BlockHash | None) -> bool:
        """Whether a quorum voted for exactly this."""
        return self.votes.tally(view, step).count(block_hash) >= self.committee.quorum

    def has_any_quorum(self, view: View, step: VoteStep) -> bool:
        """Whether a quorum voted, for whatever."""
        return len(self.votes.tally(view, step).voters) >= self.committee.quorum

    def list_proof(self) -> tuple[Envelope, ...]:
        """The proposal and prevotes that made our valid block valid, for whoever missed them."""
        if self.valid is None or self.valid_view is None:
            return ()
        tally = self.votes.tally(self.valid_view, VoteStep.PREVOTE)
        return (self.valid.envelope, *tally.votes_for(self.valid.block_hash))
