"""Who signs and who checks: behind an interface, so that a large simulation may count instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from psyche_p2p.identity import Identity
from psyche_p2p.ids import PeerId, RunId
from psyche_p2p.wire import Envelope, Proposal, Vote, open_envelope, seal, verify_detached


class Signer(Protocol):
    """One peer's voice."""

    @property
    def peer(self) -> PeerId:
        """Who speaks."""

    def seal(self, message: Proposal | Vote) -> Envelope:
        """The message as a signed envelope of ours."""


class SignatureChecker(Protocol):
    """Checks the signatures that certificates carry without their envelopes."""

    def verify(self, vote: Vote, voter: PeerId, signature: bytes) -> bool:
        """Whether the voter signed the envelope of this vote."""


@dataclass(frozen=True, slots=True)
class IdentitySigner:
    """Signs with the peer's Ed25519 key."""

    identity: Identity
    run_id: RunId

    @property
    def peer(self) -> PeerId:
        return self.identity.peer_id

    def seal(self, message: Proposal | Vote) -> Envelope:
        return open_envelope(seal(message, self.run_id, self.identity), self.run_id)


@dataclass(frozen=True, slots=True)
class Ed25519Checker:
    """Checks Ed25519 signatures over envelopes of one run."""

    run_id: RunId

    def verify(self, vote: Vote, voter: PeerId, signature: bytes) -> bool:
        return verify_detached(vote, self.run_id, voter, signature)
