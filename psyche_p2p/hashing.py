"""The one hash of the system: BLAKE3, and its domain-separated form for structured input."""

from __future__ import annotations

from blake3 import blake3

DIGEST_BYTES = 32


def hash_bytes(data: bytes | bytearray | memoryview) -> bytes:
    """BLAKE3 of a byte string."""
    return blake3(data).digest()


def hash_parts(context: str, *parts: bytes) -> bytes:
    """BLAKE3 of several byte strings under a context, so that no two different lists collide.

    The context keys the hash (BLAKE3's `derive_key` mode) and every part is preceded by its length
    as eight bytes, least significant first.
    """
    hasher = blake3(derive_key_context=f"psyche-p2p/v1/{context}")
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()
