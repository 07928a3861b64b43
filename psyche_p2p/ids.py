"""Names for the things every package talks about: peers, blobs, rounds, tiers.

A PeerId is what libp2p derives from an Ed25519 key: the base58 of an identity multihash around the
key's protobuf form. The key can be read back out of it, so a PeerId is all one needs to check a
signature (https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NewType

PeerId = NewType("PeerId", str)
PublicKey = NewType("PublicKey", bytes)
Signature = NewType("Signature", bytes)
RunId = NewType("RunId", bytes)
BlobHash = NewType("BlobHash", bytes)
BlockHash = NewType("BlockHash", bytes)
StateRoot = NewType("StateRoot", bytes)
ParamRoot = NewType("ParamRoot", bytes)
SchemaHash = NewType("SchemaHash", bytes)
Height = NewType("Height", int)
View = NewType("View", int)
EpochIndex = NewType("EpochIndex", int)
RoundIndex = NewType("RoundIndex", int)
Tier = NewType("Tier", int)

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
MAX_TIER = 7

# identity multihash (code 0x00, length 0x24) of PublicKey{type: Ed25519, data: 32 bytes}
_PEER_ID_PREFIX = bytes.fromhex("002408011220")
_PEER_ID_BYTES = len(_PEER_ID_PREFIX) + PUBLIC_KEY_BYTES
_PEER_ID_CHARACTERS = 52
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE = {character: value for value, character in enumerate(_BASE58)}


@dataclass(frozen=True, slots=True, order=True)
class BatchInterval:
    """The sample indices `start <= i < end` given to one trainer."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a batch needs 0 <= start < end, not [{self.start}, {self.end})")

    @property
    def size(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"


@lru_cache(maxsize=4096)
def peer_id_from_public_key(public_key: PublicKey) -> PeerId:
    """The PeerId that libp2p derives from an Ed25519 public key."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ValueError(f"an Ed25519 public key has 32 bytes, this has {len(public_key)}")
    return PeerId(_base58_encode(_PEER_ID_PREFIX + public_key))


@lru_cache(maxsize=4096)
def public_key_from_peer_id(peer: PeerId) -> PublicKey:
    """The Ed25519 public key inside a PeerId; ValueError for any other string."""
    if len(peer) != _PEER_ID_CHARACTERS:
        raise ValueError(f"an Ed25519 peer id has {_PEER_ID_CHARACTERS} characters: {peer[:64]!r}")
    raw = _base58_decode(peer)
    if len(raw) != _PEER_ID_BYTES or not raw.startswith(_PEER_ID_PREFIX):
        raise ValueError(f"not the id of an Ed25519 peer: {peer!r}")
    return PublicKey(raw[len(_PEER_ID_PREFIX) :])


def peer_id_to_bytes(peer: PeerId) -> bytes:
    """The multihash that a PeerId is the base58 of."""
    return _PEER_ID_PREFIX + public_key_from_peer_id(peer)


def peer_id_from_bytes(raw: bytes) -> PeerId:
    """The PeerId of a multihash; ValueError for one that is not an Ed25519 peer's."""
    if len(raw) != _PEER_ID_BYTES or not raw.startswith(_PEER_ID_PREFIX):
        raise ValueError(f"not the id of an Ed25519 peer: {raw[:48].hex()}")
    return peer_id_from_public_key(PublicKey(raw[len(_PEER_ID_PREFIX) :]))


def short_id(value: str | bytes) -> str:
    """The part of an id a person compares: the end of a PeerId, the start of a hash."""
    return value.hex()[:10] if isinstance(value, bytes) else value[-8:]


def _base58_encode(raw: bytes) -> str:
    number = int.from_bytes(raw, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    leading_zeros = len(raw) - len(raw.lstrip(b"\0"))
    return "1" * leading_zeros + "".join(reversed(digits))


def _base58_decode(text: str) -> bytes:
    number = 0
    for character in text:
        if character not in _BASE58_VALUE:
            raise ValueError(f"{character!r} is not a base58 character")
        number = number * 58 + _BASE58_VALUE[character]
    leading_zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * leading_zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
