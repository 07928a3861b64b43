"""How a run without authorities begins: everyone who is ready signs the same founding document.

There is no committee yet, so nothing less than all founders' signatures starts the run. A founder
signs at most one document an attempt and begins a new attempt only when the last one failed. Two
sets of peers that never met may still found two runs; `prefer_chain` says which one goes on.
"""

from __future__ import annotations

from psyche_p2p.consensus.application import Committee
from psyche_p2p.consensus.certificates import build_certificate, find_certificate_fault
from psyche_p2p.consensus.effects import (
    ACCEPTED,
    Broadcast,
    Effect,
    EvidenceFound,
    Persist,
    Verdict,
    WalRecord,
    ignore,
    reject,
)
from psyche_p2p.consensus.signing import SignatureChecker, Signer
from psyche_p2p.consensus.votes import VoteBook
from psyche_p2p.coordinator import genesis_hash
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.ids import BlockHash, Height, PeerId, View
from psyche_p2p.wire import Certificate, Envelope, Vote, VoteStep

GENESIS_HEIGHT = Height(0)


class Founding:
    """One peer's part in founding a run: it offers the document it sees, and counts who agrees."""

    def __init__(self, signer: Signer, attempt_ms: int) -> None:
        self._signer = signer
        self._attempt_ms = attempt_ms
        self._founders: frozenset[PeerId] = frozenset()
        self._document: BlockHash | None = None
        self._attempt = View(0)
        self._deadline: int | None = None
        self._votes = VoteBook()
        self._effects: list[Effect] = []
        self._certificate: Certificate | None = None

    @property
    def certificate(self) -> Certificate | None:
        """Every founder's signature over the document, once they are all there."""
        return self._certificate

    @property
    def attempt(self) -> View:
        """How often this peer began again."""
        return self._attempt

    def next_deadline(self) -> int | None:
        """When `on_timer` has something to do."""
        return self._deadline

    def take_effects(self) -> list[Effect]:
        """What to carry out now, in this order."""
        effects, self._effects = self._effects, []
        return effects

    def on_ready(self, document: BlockHash, founders: frozenset[PeerId], now_ms: int) -> None:
        """These peers are ready, and this is the genesis that names exactly them.

        While an attempt runs, a new view of who is ready waits for the next one.
        """
        self._document, self._founders = document, founders
        if self._deadline is None and self._certificate is None:
            self._sign(now_ms)

    def on_message(self, envelope: Envelope, now_ms: int) -> Verdict:
        """A signature over somebody's genesis."""
        vote = envelope.message
        if not isinstance(vote, Vote) or vote.height != GENESIS_HEIGHT:
            return ignore("not about genesis")
        if vote.step is not VoteStep.PRECOMMIT or vote.block_hash is None:
            return reject("a genesis is signed, or it is not")
        known = self._votes.find(envelope.sender, vote.view, vote.step)
        if known is not None and known.message == vote:
            return ignore("known")
        if known is not None:
            proof = EvidenceFound(envelope.sender, known, envelope)
            return reject("signed two documents in one attempt", proof)
        if envelope.sender not in self._founders:
            return ignore("not among those we see ready")
        if not self._votes.has_room(envelope.sender, vote.view, self._attempt):
            return ignore("too many attempts of this peer are kept already")
        self._votes.add(envelope, self._attempt)
        self._follow(vote.view, now_ms)
        return ACCEPTED

    def on_timer(self, now_ms: int) -> None:
        """The attempt failed: sign what is seen now, in the next one."""
        if self._deadline is None or now_ms < self._deadline or self._certificate is not None:
            return
        self._attempt = View(self._attempt + 1)
        self._sign(now_ms)

    def restore(self, records: list[WalRecord]) -> None:
        """Never sign again in an attempt signed before a restart."""
        for record in records:
            if record.height == GENESIS_HEIGHT:
                self._votes.add(record.own, self._attempt)
                self._attempt = View(max(self._attempt, record.own.message.view + 1))

    def _follow(self, attempt: View, now_ms: int) -> None:
        """Attempts must be the same to meet: the latest one wins."""
        if attempt > self._attempt and self._document is not None:
            self._attempt = attempt
            self._sign(now_ms)
        self._try_conclude()

    def _sign(self, now_ms: int) -> None:
        me = self._signer.peer
        if self._document is None or me not in self._founders:
            return
        self._deadline = now_ms + self._attempt_ms
        if self._votes.find(me, self._attempt, VoteStep.PRECOMMIT) is None:
            vote = Vote(GENESIS_HEIGHT, self._attempt, VoteStep.PRECOMMIT, self._document)
            envelope = self._signer.seal(vote)
            self._effects.append(Persist(WalRecord(GENESIS_HEIGHT, envelope, ())))
            self._effects.append(Broadcast(envelope, is_repeat=False))
            self._votes.add(envelope, self._attempt)
        self._try_conclude()

    def _try_conclude(self) -> None:
        if self._document is None or self._certificate is not None:
            return
        tally = self._votes.tally(self._attempt, VoteStep.PRECOMMIT)
        agreeing = tally.votes_for(self._document)
        if self._founders and {vote.sender for vote in agreeing} == self._founders:
            self._certificate = build_certificate(agreeing, len(self._founders))
            self._deadline = None


def find_founding_fault(
    certificate: Certificate,
    document: BlockHash,
    founders: tuple[PeerId, ...],
    checker: SignatureChecker,
) -> str | None:
    """Why this certificate does not found the run of this document; None if all founders signed."""
    if certificate.height != GENESIS_HEIGHT or certificate.block_hash != document:
        return "the certificate is of another genesis"
    return find_certificate_fault(certificate, Committee(founders, len(founders)), checker)


def find_unfounded(head: LogHead, checker: SignatureChecker) -> str | None:
    """Why nobody founded what a log begins with; None if all founders signed it, or need not.

    Authorities are named in the configuration, and what they decide names the genesis.
    """
    if head.config.committee.authorities:
        return None
    if head.founding is None:
        return "its founders have not signed the genesis"
    founders = tuple(founder.peer for founder in head.genesis.founders)
    return find_founding_fault(head.founding, genesis_hash(head.genesis), founders, checker)


def prefer_chain(ours: tuple[Height, BlockHash], theirs: tuple[Height, BlockHash]) -> bool:
    """Whether a peer of another founding's run should be followed: more height, then lower hash."""
    return (theirs[0], _descending(theirs[1])) > (ours[0], _descending(ours[1]))


def _descending(block_hash: BlockHash) -> bytes:
    return bytes(255 - byte for byte in block_hash)
