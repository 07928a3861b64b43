"""Rendezvous hashing: an order of peers that losing one of them does not change for the others.

Every choice among members is "the first k in the order of this seed and purpose" (D. Thaler and
C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996).
"""

from __future__ import annotations

from collections.abc import Iterable

from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import PeerId, public_key_from_peer_id


def score(seed: bytes, purpose: str, peer: PeerId, subject: bytes = b"") -> bytes:
    """Where a peer stands for a purpose: the lowest comes first."""
    key = public_key_from_peer_id(peer)
    return hash_parts("rendezvous", seed, purpose.encode(), key, subject)


def rank(peers: Iterable[PeerId], seed: bytes, purpose: str, subject: bytes = b"") -> list[PeerId]:
    """The peers in the order of this seed, purpose and subject."""
    return sorted(peers, key=lambda peer: score(seed, purpose, peer, subject))
