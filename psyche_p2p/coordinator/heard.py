"""What a peer has heard that a block could use, until its round is settled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psyche_p2p.coordinator.commands import AnyCommand
from psyche_p2p.coordinator.pool import Pool
from psyche_p2p.coordinator.signed import Signed
from psyche_p2p.coordinator.state import State
from psyche_p2p.ids import BatchInterval, PeerId, RoundIndex
from psyche_p2p.wire import Attestation, Commitment, Envelope, Join
from psyche_p2p.wire.commands import EjectForCommitments
from psyche_p2p.wire.messages import OwnerOrder, Refusal, Verdict, Warm, Withdraw

_ROUNDS_AHEAD = 4  # of what this peer knows to be open: others may be a few blocks further
_MAX_STRANGERS = 512
_MAX_VERDICTS = 1024
_MAX_REFUSALS = 256  # of one witness, in all open rounds


def as_signed(envelope: Envelope) -> Signed:
    """What an envelope says, as the coordinator keeps it."""
    return Signed(envelope.sender, envelope.message, envelope.signature)


class Heard:
    """Statements by kind; of one sender about one thing the last, of commitments up to two."""

    def __init__(self) -> None:
        self._joins: dict[PeerId, Signed] = {}
        self._withdrawals: dict[PeerId, Signed] = {}
        self._orders: dict[PeerId, Signed] = {}
        self._warm: dict[PeerId, Signed] = {}
        self._commitments: dict[tuple[PeerId, RoundIndex, BatchInterval], list[Signed]] = {}
        self._attestations: dict[tuple[PeerId, RoundIndex], Signed] = {}
        self._verdicts: dict[tuple[PeerId, RoundIndex, BatchInterval, PeerId], Signed] = {}
        self._refusals: dict[PeerId, dict[Refusal, Signed]] = {}
        self._evidence: dict[PeerId, AnyCommand] = {}
        self._next_round = RoundIndex(0)
        self.witness_counts: dict[RoundIndex, int] = {}

    @property
    def warm_count(self) -> int:
        return len(self._warm)

    @property
    def has_urgent(self) -> bool:
        """Something that does not wait for the end of a round."""
        return bool(self._evidence or self._joins or self._withdrawals or self._orders)

    def pool(self) -> Pool:
        """Everything heard, as the coordinator takes it."""
        return Pool(
            joins=tuple(self._joins.values()),
            withdrawals=tuple(self._withdrawals.values()),
            orders=tuple(self._orders.values()),
            warm=tuple(self._warm.values()),
            commitments=tuple(one for several in self._commitments.values() for one in several),
            attestations=tuple(self._attestations.values()),
            verdicts=tuple(self._verdicts.values()),
            refusals=tuple(one for several in self._refusals.values() for one in several.values()),
            evidence=tuple(self._evidence.values()),
        )

    def take(self, envelope: Envelope) -> bool:
        """Keep a statement; whether it said anything new."""
        message: Any = envelope.message
        match message:
            case Commitment():
                return self._take_commitment(envelope, message)
            case Attestation():
                return self._take_attestation(envelope, message)
            case Verdict():
                key = (envelope.sender, message.round, message.batch, message.trainer)
                return self._take_latest(self._verdicts, key, envelope, _MAX_VERDICTS)
            case Refusal():
                return self._take_refusal(envelope, message)
            case Join():
                return self._take_latest(self._joins, envelope.sender, envelope)
            case Warm():
                return self._take_latest(self._warm, envelope.sender, envelope)
            case Withdraw():
                return self._take_latest(self._withdrawals, envelope.sender, envelope)
            case OwnerOrder():
                return self._take_latest(self._orders, envelope.sender, envelope)
            case _:
                return False

    def accuse(self, peer: PeerId, command: AnyCommand) -> None:
        """Keep the proof that ejects a peer."""
        self._evidence.setdefault(peer, command)

    def joins(self) -> dict[PeerId, Signed]:
        """The latest join of everyone who asked."""
        return dict(self._joins)

    def commitments_of(self, round_index: RoundIndex) -> Iterable[Signed]:
        """The first commitment of every trainer and batch of a round."""
        for (_, about, _), several in self._commitments.items():
            if about == round_index:
                yield several[0]

    def forget_before(self, state: State) -> None:
        """Drop what no later block can use."""
        first, self._next_round = state.closed_count, state.next_round
        nonces = {account.peer: account.nonce for account in state.accounts}
        self._joins = {k: v for k, v in self._joins.items() if v.message.nonce > nonces.get(k, 0)}
        self._withdrawals = {
            k: v
            for k, v in self._withdrawals.items()
            if v.message.epoch == state.epoch and v.message.nonce > nonces.get(k, 0)
        }
        self._orders = {
            k: v for k, v in self._orders.items() if v.message.nonce > state.owner_nonce
        }
        self._warm = {k: v for k, v in self._warm.items() if v.message.epoch >= state.epoch}
        self._commitments = {k: v for k, v in self._commitments.items() if k[1] >= first}
        self._attestations = {k: v for k, v in self._attestations.items() if k[1] >= first}
        self._verdicts = {k: v for k, v in self._verdicts.items() if k[1] + _ROUNDS_AHEAD >= first}
        self._refusals = {
            sender: kept
            for sender, several in self._refusals.items()
            if (kept := {k: v for k, v in several.items() if k.round >= first})
        }
        self.witness_counts = {k: v for k, v in self.witness_counts.items() if k >= first}
        banned = {account.peer for account in state.accounts if account.is_banned}
        self._evidence = {k: v for k, v in self._evidence.items() if k not in banned}

    def _take_latest(
        self, table: dict[Any, Signed], key: Any, envelope: Envelope, most: int = _MAX_STRANGERS
    ) -> bool:
        known = table.get(key)
        if known is None and len(table) >= most:
            return False
        table[key] = as_signed(envelope)
        return known is None or known.message != envelope.message

    def _take_commitment(self, envelope: Envelope, commitment: Commitment) -> bool:
        if commitment.round >= self._next_round + _ROUNDS_AHEAD:
            return False
        key = (envelope.sender, commitment.round, commitment.batch)
        several = self._commitments.setdefault(key, [])
        if len(several) > 1 or any(one.message == commitment for one in several):
            return False
        several.append(as_signed(envelope))
        if len(several) > 1:
            self.accuse(envelope.sender, _make_ejection(several))
        return True

    def _take_attestation(self, envelope: Envelope, attestation: Attestation) -> bool:
        if attestation.round >= self._next_round + _ROUNDS_AHEAD:
            return False
        key = (envelope.sender, attestation.round)
        known = self._attestations.get(key)
        if known is not None and len(known.message.blobs) >= len(attestation.blobs):
            return False
        if known is None:
            counts = self.witness_counts
            counts[attestation.round] = counts.get(attestation.round, 0) + 1
        self._attestations[key] = as_signed(envelope)
        return True

    def _take_refusal(self, envelope: Envelope, refusal: Refusal) -> bool:
        if refusal.round >= self._next_round + _ROUNDS_AHEAD:
            return False
        several = self._refusals.setdefault(envelope.sender, {})
        if refusal in several or len(several) >= _MAX_REFUSALS:
            return False
        several[refusal] = as_signed(envelope)
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
