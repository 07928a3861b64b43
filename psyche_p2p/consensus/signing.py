"""Who signs and who checks: behind small interfaces, so that a large simulation may only count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from psyche_p2p.coordinator import Verify
from psyche_p2p.identity import Identity
from psyche_p2p.identity import verify as verify_signature
from psyche_p2p.ids import PeerId, RunId
from psyche_p2p.wire import Envelope, Vote, open_envelope, seal
from psyche_p2p.wire.envelope import ENVELOPE_CONTEXT, bytes_to_sign


class Signer(Protocol):
    """One peer's voice."""

    @property
    def peer(self) -> PeerId:
        """Who speaks."""

    def seal(self, message: Any) -> Envelope:
        """The message as a signed envelope of ours."""


@dataclass(frozen=True, slots=True)
class IdentitySigner:
    """Signs with the peer's Ed25519 key."""

    identity: Identity
    run_id: RunId

    @property
    def peer(self) -> PeerId:
        return self.identity.peer_id

    def seal(self, message: Any) -> Envelope:
        return open_envelope(seal(message, self.run_id, self.identity), self.run_id)


@dataclass(frozen=True, slots=True)
class SignatureChecker:
    """Checks the signatures that certificates carry without their envelopes."""

    run_id: RunId
    verify: Verify = verify_signature

    def is_signed(self, vote: Vote, voter: PeerId, signature: bytes) -> bool:
        """Whether the voter signed the envelope of this vote."""
        signed = bytes_to_sign(vote, self.run_id, voter)
        return self.verify(voter, ENVELOPE_CONTEXT, signed, signature)
