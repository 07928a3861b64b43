"""Large files as blocks of 64 KiB with a hash each, so that any part can be checked on its own.

A file's digest is the hash of its blocks' hashes. Whoever knows the digest and is given the hashes
(32 bytes a block) can check them, and then every block alone: a trainer that reads over HTTP
fetches the few samples it wants and still trusts nobody.
"""

from __future__ import annotations

from blake3 import blake3

from psyche_p2p.hashing import DIGEST_BYTES, hash_bytes, hash_parts

BLOCK_BYTES = 64 << 10
SUFFIX = ".blocks"
"""A file's list of hashes is beside it, under its name with this ending."""


class BlockHasher:
    """Hashes bytes as they come, in pieces of any size."""

    def __init__(self) -> None:
        self._hashes = bytearray()
        self._open = blake3()
        self._room = BLOCK_BYTES

    def update(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            part, view = view[: self._room], view[self._room :]
            self._open.update(part)
            self._room -= len(part)
            if self._room == 0:
                self._hashes += self._open.digest()
                self._open, self._room = blake3(), BLOCK_BYTES

    def finish(self) -> bytes:
        """The hashes of all blocks, one after the other; the last block may be short."""
        last = self._open.digest() if self._room < BLOCK_BYTES else b""
        return bytes(self._hashes) + last


def digest_of_blocks(hashes: bytes) -> bytes:
    """The digest of a file with these blocks: what the manifest names."""
    return hash_parts("data blocks", hashes)


def count_blocks(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES)


def is_block(hashes: bytes, number: int, data: bytes | memoryview) -> bool:
    """Whether these bytes are the block with this number."""
    start = number * DIGEST_BYTES
    return hash_bytes(memoryview(data)) == hashes[start : start + DIGEST_BYTES]
