"""Agreement on the next block: the Tendermint-style core, without IO, clock or entropy.

The driver hands in messages, time and the news that a block is due, and carries out the effects
in order. The algorithm is that of arXiv 1807.04938; what is added to it (due-ness, repeating what
may have been lost, skipping views, bounds on memory) is described in docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psyche_p2p.consensus import rules
from psyche_p2p.consensus.admission import is_turning_point, take_in, take_vote
from psyche_p2p.consensus.application import Application
from psyche_p2p.consensus.certificates import build_certificate
from psyche_p2p.consensus.chain import find_decided_fault
from psyche_p2p.consensus.early import EarlyMessages
from psyche_p2p.consensus.effects import (
    ACCEPTED,
    Broadcast,
    Decided,
    Effect,
    FellBehind,
    Halted,
    Judgement,
    Persist,
    Verdict,
    WalRecord,
    ignore,
    reject,
)
from psyche_p2p.consensus.height import HeightState, HeldProposal, Step
from psyche_p2p.consensus.memory import Memory
from psyche_p2p.consensus.recovery import list_repeats, restore_statements
from psyche_p2p.consensus.signing import SignatureChecker, Signer
from psyche_p2p.consensus.timeouts import Timeouts, TimerKind
from psyche_p2p.ids import BlockHash, Height, PeerId, View
from psyche_p2p.wire import DecidedBlock, Envelope, Proposal, Vote, VoteStep


class Agreement:
    """One peer's part in deciding one block after the other."""

    def __init__(
        self,
        app: Application,
        signer: Signer,
        checker: SignatureChecker,
        timeouts: Timeouts,
        memory: Memory,
    ) -> None:
        self._app = app
        self._signer = signer
        self._checker = checker
        self._timeouts = timeouts
        self._memory = memory
        self._effects: list[Effect] = []
        self._early = EarlyMessages()
        self._hinted: set[PeerId] = set()
        self._is_halted = False
        self._state = HeightState(app.height, app.committee())

    @property
    def state(self) -> HeightState:
        """The height being decided, to be looked at and not touched."""
        return self._state

    @property
    def is_voting(self) -> bool:
        """Whether this peer may vote at this height: a member of its committee with its memory."""
        is_voter = self._signer.peer in self._state.committee.voters
        return is_voter and not self._is_halted and self._memory.may_vote_at(self._state.height)

    def next_deadline(self) -> int | None:
        """When `on_timer` has something to do next."""
        return min(self._state.deadlines.values(), default=None)

    def take_effects(self) -> list[Effect]:
        """What to carry out now, in this order."""
        effects, self._effects = self._effects, []
        return effects

    def on_message(self, envelope: Envelope, now_ms: int) -> Verdict:
        """Take in a proposal or vote whose envelope's signature has been checked."""
        message = envelope.message
        if not isinstance(message, (Vote, Proposal)):
            return reject("not a message of agreement")
        if message.height != self._state.height:
            return self._judge_other_height(envelope)
        verdict = take_in(self._state, envelope, self._app)
        if verdict.evidence is not None:
            self._effects.append(verdict.evidence)
        if verdict.judgement is Judgement.ACCEPT and is_turning_point(self._state, message):
            self._advance(now_ms)
        return verdict

    def on_due(self, now_ms: int) -> None:
        """The next block is due: propose it, or wait for it with a deadline."""
        self._activate(now_ms)
        self._advance(now_ms)

    def on_timer(self, now_ms: int) -> None:
        """Act on every deadline that has passed."""
        state = self._state
        for kind in TimerKind:
            deadline = state.deadlines.get(kind)
            if self._state is state and deadline is not None and deadline <= now_ms:
                del state.deadlines[kind]
                self._on_timeout(kind, now_ms)
                self._advance(now_ms)

    def on_decided(self, decided: DecidedBlock, now_ms: int) -> Verdict:
        """Follow a decided block by its certificate, without having seen the votes."""
        if decided.block.height < self._state.height:
            return ignore("already decided")
        if decided.block.height > self._state.height:
            return ignore("a gap before this block")
        fault = find_decided_fault(decided, self._app, self._checker)
        if fault is not None:
            return reject(fault)
        self._conclude(decided, now_ms)
        return ACCEPTED

    def on_heard(self, peer: PeerId, height: Height) -> None:
        """A member told us itself, over a channel of its own, which height it is deciding."""
        self._memory.hear(peer, height)
        self._memory.settle(self._state.height, self._state.committee)

    def restore(self, records: Sequence[WalRecord], now_ms: int) -> None:
        """Take back what was written before a restart, so that nothing is said twice."""
        if restore_statements(self._state, records, self._app):
            self._activate(now_ms)
            self._advance(now_ms)
            self._resend()

    def _judge_other_height(self, envelope: Envelope) -> Verdict:
        height = envelope.message.height
        if height < self._state.height:
            return ignore("a height already decided")
        if not self._app.is_member(envelope.sender):
            return ignore("a later height, from a stranger")
        self._hint(envelope.sender, height)
        if height == self._state.height + 1 and self._early.keep(envelope):
            return ignore("the next height: kept for later")
        return ignore("a later height")

    # The algorithm

    def _advance(self, now_ms: int) -> None:
        """Apply rules until none applies."""
        while not self._is_halted and (
            self._try_decide(now_ms)
            or self._try_skip_view(now_ms)
            or self._try_prevote(now_ms)
            or self._try_adopt()
            or self._try_precommit_nothing()
        ):
            pass
        self._start_vote_timers(now_ms)

    def _try_decide(self, now_ms: int) -> bool:
        """Line 49: a quorum precommitted a block that we hold."""
        state = self._state
        if state.decidable is None:
            return False
        view, block_hash = state.decidable
        held = state.find_block(block_hash)
        precommits = state.votes.tally(view, VoteStep.PRECOMMIT).votes_for(block_hash)
        if len(precommits) < state.committee.quorum:  # a liar's vote gave way to its later ones
            state.decidable = None
            return False
        if held is None:
            self._hint(precommits[-1].sender, Height(state.height + 1))
            return False
        fault = rules.get_block_fault(state, held, self._app)
        if fault is not None:
            self._is_halted = True
            self._effects.append(Halted(state.height, f"a quorum decided a block that {fault}"))
            return False
        certificate = build_certificate(precommits, state.committee.quorum)
        self._conclude(DecidedBlock(held.block, certificate), now_ms)
        return True

    def _try_skip_view(self, now_ms: int) -> bool:
        """Line 55: at least one honest peer is in a later view."""
        state = self._state
        reached = state.votes.view_reached_by(state.committee.honest_witness)
        if reached is None or reached <= state.view:
            if not state.is_active and reached is not None:
                self._activate(now_ms)
            return False
        self._enter_view(reached, now_ms)
        return True

    def _try_prevote(self, now_ms: int) -> bool:
        """Lines 22 and 28: the first vote on this view's proposal."""
        state = self._state
        held = state.proposals.get(state.view)
        if state.step is not Step.PROPOSE or held is None:
            return False
        if not rules.is_proof_complete(state, held) or not self._is_timely(held, now_ms):
            return False
        fault = rules.get_block_fault(state, held, self._app)
        is_acceptable = fault is None and rules.is_lock_satisfied(state, held)
        self._cast(VoteStep.PREVOTE, held.block_hash if is_acceptable else None)
        self._activate(now_ms)
        return True

    def _is_timely(self, held: HeldProposal, now_ms: int) -> bool:
        """A block too early for us waits, unless an honest peer has already voted for it."""
        state = self._state
        prevotes = state.votes.tally(state.view, VoteStep.PREVOTE)
        if prevotes.count(held.block_hash) >= state.committee.honest_witness:
            return True
        is_repeated = held.proposal.valid_view is not None
        return is_repeated or self._app.find_untimely(held.block, now_ms) is None

    def _try_adopt(self) -> bool:
        """Line 36: a quorum prevoted this view's proposal: lock it, precommit it."""
        state = self._state
        held = state.proposals.get(state.view)
        if held is None or state.step is Step.PROPOSE or state.valid_view == state.view:
            return False
        if not state.has_quorum(state.view, VoteStep.PREVOTE, held.block_hash):
            return False
        if rules.get_block_fault(state, held, self._app) is not None:
            return False
        state.valid_view, state.valid = state.view, held
        if state.step is Step.PREVOTE:
            rules.lock(state, held.block_hash)
            self._cast(VoteStep.PRECOMMIT, held.block_hash)
        return True

    def _try_precommit_nothing(self) -> bool:
        """Line 44: a quorum prevoted for no block."""
        state = self._state
        if state.step is not Step.PREVOTE:
            return False
        if not state.has_quorum(state.view, VoteStep.PREVOTE, None):
            return False
        self._cast(VoteStep.PRECOMMIT, None)
        return True

    def _start_vote_timers(self, now_ms: int) -> None:
        """Lines 34 and 47: a quorum voted but did not agree; wait a little for the rest."""
        state = self._state
        if state.step is Step.PREVOTE and state.has_any_quorum(state.view, VoteStep.PREVOTE):
            self._start_timer(TimerKind.PREVOTE, now_ms)
        if TimerKind.PRECOMMIT in state.deadlines:
            return
        if state.has_any_quorum(state.view, VoteStep.PRECOMMIT) and self.is_voting:
            self._start_timer(TimerKind.PRECOMMIT, now_ms)
            if state.valid_view == state.view:
                self._repeat(state.list_proof())

    def _on_timeout(self, kind: TimerKind, now_ms: int) -> None:
        """Lines 57 to 67."""
        state = self._state
        if kind is TimerKind.PROPOSE and state.step is Step.PROPOSE:
            self._cast(VoteStep.PREVOTE, None)
        elif kind is TimerKind.PREVOTE and state.step is Step.PREVOTE:
            self._cast(VoteStep.PRECOMMIT, None)
        elif kind is TimerKind.PRECOMMIT:
            self._enter_view(View(state.view + 1), now_ms)
        elif kind is TimerKind.RESEND:
            self._resend()
            self._start_timer(TimerKind.RESEND, now_ms)

    def _activate(self, now_ms: int) -> None:
        if not self._state.is_active:
            self._state.is_active = True
            self._begin_view(now_ms)
            self._start_timer(TimerKind.RESEND, now_ms)

    def _enter_view(self, view: View, now_ms: int) -> None:
        state = self._state
        state.view, state.step, state.is_active = view, Step.PROPOSE, True
        resend_at = state.deadlines.get(TimerKind.RESEND)
        state.deadlines.clear()
        self._begin_view(now_ms)
        if resend_at is None:
            self._start_timer(TimerKind.RESEND, now_ms)
        else:
            state.deadlines[TimerKind.RESEND] = resend_at

    def _begin_view(self, now_ms: int) -> None:
        state = self._state
        if state.step is Step.PROPOSE:
            if self._app.proposer(state.view) == self._signer.peer:
                self._propose(now_ms)
            self._start_timer(TimerKind.PROPOSE, now_ms)

    def _start_timer(self, kind: TimerKind, now_ms: int) -> None:
        state = self._state
        if kind not in state.deadlines and self.is_voting:
            state.deadlines[kind] = now_ms + self._timeouts.duration_ms(kind, state.view)

    # Saying things

    def _propose(self, now_ms: int) -> None:
        """Line 14: repeat the valid block if there is one, or build a new one."""
        state = self._state
        if not self.is_voting or state.view in state.proposals:
            return
        proof = state.list_proof()
        block = state.valid.block if state.valid else self._app.build_block(state.view, now_ms)
        if block is None:
            return
        proposal = Proposal(state.height, state.view, state.valid_view, block)
        state.hold_proposal(self._say(proposal, proof))
        self._repeat(proof[1:])

    def _cast(self, step: VoteStep, block_hash: BlockHash | None) -> None:
        """Vote once in this view and step; without the right to vote only take the step."""
        state = self._state
        state.step = Step.PREVOTE if step is VoteStep.PREVOTE else Step.PRECOMMIT
        if not self.is_voting or state.votes.find(self._signer.peer, state.view, step):
            return
        is_lock = step is VoteStep.PRECOMMIT and block_hash is not None
        reasons = state.list_proof() if is_lock else ()
        vote = Vote(state.height, state.view, step, block_hash)
        take_vote(state, self._say(vote, reasons), vote)

    def _say(self, message: Proposal | Vote, reasons: tuple[Envelope, ...]) -> Envelope:
        envelope = self._signer.seal(message)
        self._effects.append(Persist(WalRecord(self._state.height, envelope, reasons)))
        self._effects.append(Broadcast(envelope, is_repeat=False))
        return envelope

    def _repeat(self, envelopes: Iterable[Envelope]) -> None:
        self._effects += [Broadcast(envelope, is_repeat=True) for envelope in envelopes]

    def _resend(self) -> None:
        """Say again whatever may be missing elsewhere for this view to end."""
        state, me = self._state, self._signer.peer
        own = (state.votes.find(me, state.view, step) for step in VoteStep)
        self._repeat(list_repeats(state, [vote for vote in own if vote is not None]))

    def _hint(self, peer: PeerId, height: Height) -> None:
        if peer not in self._hinted:
            self._hinted.add(peer)
            self._effects.append(FellBehind(peer, height))

    # Moving on and coming back

    def _conclude(self, decided: DecidedBlock, now_ms: int) -> None:
        self._effects.append(Decided(decided))
        self._app.apply_block(decided.block)
        self._hinted.clear()
        self._state = HeightState(self._app.height, self._app.committee())
        self._memory.settle(self._state.height, self._state.committee)
        for envelope in self._early.take_all():
            self.on_message(envelope, now_ms)
