"""Everyone's keys in a simulated run: real ones, or signatures that are only counted.

A counted signature is a hash over signer and content. Inside the simulation it is as good as a real
one because a liar is handed no other peer's keys, and what it invents does not check.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from psyche_p2p.consensus import IdentitySigner
from psyche_p2p.errors import WireError
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import Identity
from psyche_p2p.identity import verify as verify_real
from psyche_p2p.ids import PeerId, RunId, Signature
from psyche_p2p.wire import (
    Attestation,
    Commitment,
    Envelope,
    Join,
    Kind,
    Proposal,
    Vote,
    open_envelope,
)
from psyche_p2p.wire.envelope import ENVELOPE_CONTEXT, bytes_to_sign
from psyche_p2p.wire.messages import Refusal, Warm

ENVELOPE_OVERHEAD_BYTES = 110
"""Version, kind, sender, signature and field tags around what is signed, run id included."""
_KINDS: dict[type[Any], Kind] = {
    Proposal: Kind.PROPOSAL,
    Vote: Kind.VOTE,
    Commitment: Kind.COMMITMENT,
    Attestation: Kind.ATTESTATION,
    Warm: Kind.WARM,
    Join: Kind.JOIN,
    Refusal: Kind.REFUSAL,
}


class Keys(Protocol):
    """One peer's keys: all that a peer can say, nobody else can."""

    @property
    def peer(self) -> PeerId: ...

    def sign(self, context: str, message: bytes) -> Signature: ...

    def seal(self, message: Any) -> Envelope: ...


@dataclass(frozen=True, slots=True)
class RealKeys(IdentitySigner):
    """Ed25519, through the envelope's own code."""

    def sign(self, context: str, message: bytes) -> Signature:
        return self.identity.sign(context, message)


@dataclass(frozen=True, slots=True)
class CountedKeys:
    """A signature that costs one hash."""

    identity: Identity
    run_id: RunId

    @property
    def peer(self) -> PeerId:
        return self.identity.peer_id

    def sign(self, context: str, message: bytes) -> Signature:
        return count_signature(self.peer, context, message)

    def seal(self, message: Any) -> Envelope:
        signed = bytes_to_sign(message, self.run_id, self.peer)
        signature = self.sign(ENVELOPE_CONTEXT, signed)
        raw = signed + signature + bytes(ENVELOPE_OVERHEAD_BYTES - len(signature))
        kind = _KINDS[type(message)]
        return Envelope(hash_bytes(raw), self.run_id, kind, self.peer, message, signature, raw)


def count_signature(signer: PeerId, context: str, message: bytes) -> Signature:
    """What only the signer's own object makes."""
    digest = hash_bytes(f"{signer} {context} ".encode() + message)
    return Signature(digest + digest)


def verify_counted(signer: PeerId, context: str, message: bytes, signature: bytes) -> bool:
    """Whether the signer's object made this signature."""
    return signature == count_signature(signer, context, message)


@dataclass
class Notary:
    """Opens envelopes for all peers, each once: its answer is the same for everyone."""

    run_id: RunId
    is_real: bool
    _opened: dict[bytes, bool] = field(default_factory=dict)

    def verify(self, signer: PeerId, context: str, message: bytes, signature: bytes) -> bool:
        check = verify_real if self.is_real else verify_counted
        return check(signer, context, message, signature)

    def is_genuine(self, envelope: Envelope) -> bool:
        """Whether the envelope's sender sealed exactly this."""
        known = self._opened.get(envelope.id)
        if known is None:
            known = self._open(envelope)
            self._opened[envelope.id] = known
        return known

    def _open(self, envelope: Envelope) -> bool:
        if self.is_real:
            try:
                return open_envelope(envelope.raw, self.run_id) == envelope
            except WireError:
                return False
        signed = bytes_to_sign(envelope.message, self.run_id, envelope.sender)
        return self.verify(envelope.sender, ENVELOPE_CONTEXT, signed, envelope.signature)


@lru_cache(maxsize=1024)
def make_identity(index: int) -> Identity:
    """The identity of the peer with this number."""
    return Identity.from_seed(index.to_bytes(32, "big"))
