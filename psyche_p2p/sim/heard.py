"""What a simulated peer has heard that a block could use, until its round is settled."""

from __future__ import annotations

from collections.abc import Iterable

from psyche_p2p.coordinator import AnyCommand, Pool, Signed, State
from psyche_p2p.ids import BatchInterval, PeerId, RoundIndex
from psyche_p2p.sim.signing import as_signed
from psyche_p2p.wire import Attestation, Commitment, Envelope, Join
from psyche_p2p.wire.commands import EjectForCommitments
from psyche_p2p.wire.messages import Warm


class Heard:
    """Statements by kind; of one sender about one thing the last, of commitments up to two."""

    def __init__(self) -> None:
        self._joins: dict[PeerId, Signed] = {}
        self._warm: dict[PeerId, Signed] = {}
        self._commitments: dict[tuple[PeerId, RoundIndex, BatchInterval], list[Signed]] = {}
        self._attestations: dict[tuple[PeerId, RoundIndex], Signed] = {}
        self._evidence: dict[PeerId, AnyCommand] = {}
        self.witness_counts: dict[RoundIndex, int] = {}

    @property
    def warm_count(self) -> int:
        return len(self._warm)

    @property
    def has_urgent(self) -> bool:
        """Proof of misconduct, or joins while the run waits for them."""
        return bool(self._evidence) or bool(self._joins)

    def pool(self) -> Pool:
        """Everything heard, as the coordinator takes it."""
        return Pool(
            joins=tuple(self._joins.values()),
            warm=tuple(self._warm.values()),
            commitments=tuple(one for several in self._commitments.values() for one in several),
            attestations=tuple(self._attestations.values()),
            evidence=tuple(self._evidence.values()),
        )

    def take(self, envelope: Envelope) -> bool:
        """Keep a statement about a round; whether it said anything new."""
        message = envelope.message
        if isinstance(message, Commitment):
            return self._take_commitment(envelope, message)
        if isinstance(message, Attestation):
            return self._take_attestation(envelope, message)
        if isinstance(message, Join):
            self._joins[envelope.sender] = as_signed(envelope)
            return True
        if isinstance(message, Warm):
            known = self._warm.get(envelope.sender)
            self._warm[envelope.sender] = as_signed(envelope)
            return known is None or known.message != message
        return False

    def accuse(self, peer: PeerId, command: AnyCommand) -> None:
        """Keep the proof that ejects a peer."""
        self._evidence.setdefault(peer, command)

    def commitments_of(self, round_index: RoundIndex) -> Iterable[Signed]:
        """The first commitment of every trainer and batch of a round."""
        for (_, about, _), several in self._commitments.items():
            if about == round_index:
                yield several[0]

    def forget_before(self, state: State) -> None:
        """Drop what no later block can use."""
        first = state.closed_count
        nonces = {account.peer: account.nonce for account in state.accounts}
        self._joins = {k: v for k, v in self._joins.items() if v.message.nonce > nonces.get(k, 0)}
        self._commitments = {k: v for k, v in self._commitments.items() if k[1] >= first}
        self._attestations = {k: v for k, v in self._attestations.items() if k[1] >= first}
        self.witness_counts = {k: v for k, v in self.witness_counts.items() if k >= first}
        banned = {account.peer for account in state.accounts if account.is_banned}
        self._evidence = {k: v for k, v in self._evidence.items() if k not in banned}

    def _take_commitment(self, envelope: Envelope, commitment: Commitment) -> bool:
        key = (envelope.sender, commitment.round, commitment.batch)
        several = self._commitments.setdefault(key, [])
        if len(several) > 1 or any(one.message == commitment for one in several):
            return False
        several.append(as_signed(envelope))
        if len(several) > 1:
            self.accuse(envelope.sender, _make_ejection(several))
        return True

    def _take_attestation(self, envelope: Envelope, attestation: Attestation) -> bool:
        key = (envelope.sender, attestation.round)
        known = self._attestations.get(key)
        if known is not None and len(known.message.blobs) >= len(attestation.blobs):
            return False
        if known is None:
            counts = self.witness_counts
            counts[attestation.round] = counts.get(attestation.round, 0) + 1
        self._attestations[key] = as_signed(envelope)
        return True


def _make_ejection(several: list[Signed]) -> EjectForCommitments:
    first, second = several
    return EjectForCommitments(
        peer=first.sender,
        first=first.message,
        first_signature=first.signature,
        second=second.message,
        second_signature=second.signature,
    )
