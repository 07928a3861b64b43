"""One Ed25519 identity for everything a peer does, and the signatures made with it.

A signature always belongs to a context ("envelope", "tls-certificate", ...): the signed bytes begin
with the protocol's name and the context, so what was signed for one purpose proves nothing for
another (docs/protocol.md, "Signatures").
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    PeerId,
    PublicKey,
    Signature,
    peer_id_from_public_key,
    public_key_from_peer_id,
)

SEED_BYTES = 32
_SIGNING_PREFIX = b"psyche-p2p/v1 "
_MAX_CONTEXT_BYTES = 255
_MAX_SEEN = 4096
_seen_good: OrderedDict[bytes, None] = OrderedDict()
"""Signatures that were found good: the same statement comes by gossip, in a block, from others."""

# The points of order 1, 2, 4 and 8, in every encoding OpenSSL accepts, without the sign bit. Under
# such a key one signature can be made to fit many messages, so it identifies nobody.
_SMALL_ORDER_KEYS = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


@dataclass(frozen=True)
class Identity:
    """A peer's secret seed, its public key, and its PeerId."""

    seed: bytes = field(repr=False)
    public_key: PublicKey
    peer_id: PeerId
    _private_key: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """The identity that a 32-byte seed stands for."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, this has {len(seed)}")
        private_key = Ed25519PrivateKey.from_private_bytes(seed)
        public_key = PublicKey(private_key.public_key().public_bytes_raw())
        return cls(seed, public_key, peer_id_from_public_key(public_key), private_key)

    @classmethod
    def generate(cls) -> Identity:
        """A new identity from the system's entropy."""
        return cls.from_seed(os.urandom(SEED_BYTES))

    def sign(self, context: str, message: bytes) -> Signature:
        """Sign a message for one purpose."""
        return Signature(self._private_key.sign(_signed_bytes(context, message)))

    def derive_secret(self, purpose: str, length: int) -> bytes:
        """Secret bytes for another key of this peer: the same after every restart (HKDF-SHA256)."""
        info = _SIGNING_PREFIX + purpose.encode()
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self.seed)


def verify(signer: PeerId | PublicKey, context: str, message: bytes, signature: bytes) -> bool:
    """Whether this signer signed this message for this purpose. Never raises for bad input."""
    try:
        raw = public_key_from_peer_id(PeerId(signer)) if isinstance(signer, str) else signer
    except ValueError:
        return False
    if len(signature) != SIGNATURE_BYTES or not is_acceptable_key(raw):
        return False
    signed = _signed_bytes(context, message)
    seen = hash_bytes(raw + signature + signed)  # both of fixed length
    if seen in _seen_good:
        return True
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    _seen_good[seen] = None
    while len(_seen_good) > _MAX_SEEN:
        _seen_good.popitem(last=False)
    return True


def is_acceptable_key(public_key: bytes) -> bool:
    """Whether these bytes can identify a peer: 32 of them, and not a point of small order."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        return False
    without_sign = public_key[:31] + bytes([public_key[31] & 0x7F])
    return without_sign not in _SMALL_ORDER_KEYS


def _signed_bytes(context: str, message: bytes) -> bytes:
    encoded = context.encode()
    if not 0 < len(encoded) <= _MAX_CONTEXT_BYTES:
        raise ValueError(f"a signing context has 1 to {_MAX_CONTEXT_BYTES} bytes: {context!r}")
    return _SIGNING_PREFIX + bytes([len(encoded)]) + encoded + message
