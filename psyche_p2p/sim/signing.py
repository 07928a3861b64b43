"""Signatures that are counted instead of computed, for networks too large for the real ones.

A counted signature is a hash that only its signer's object makes, so inside the simulation it is as
hard to forge as a real one: a liar holds no other peer's signer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import Identity
from psyche_p2p.ids import SIGNATURE_BYTES, PeerId, RunId, Signature
from psyche_p2p.wire import Envelope, Kind, Proposal, Vote, encode
