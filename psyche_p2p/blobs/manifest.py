"""The chunk manifest: what makes every mebibyte of a blob checkable on its own.

A blob's hash is the BLAKE3 of its encoded manifest, and the manifest holds the BLAKE3 of every
chunk. So whoever knows the hash can take the manifest from one stranger and each chunk from
another, and tell at once which of them lied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.errors import WireError
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, short_id
from psyche_p2p.wire import ChunkManifest, decode, encode

CHUNK_BYTES = 1 << 20

Buffer = bytes | bytearray | memoryview


def count_chunks(size_bytes: int) -> int:
    """How many chunks a blob of this size has; the last may be short, none is empty."""
    return -(-size_bytes // CHUNK_BYTES)


def chunk_length(manifest: ChunkManifest, index: int) -> int:
    """The size of one chunk: a mebibyte, less for the last."""
    if not 0 <= index < len(manifest.chunks):
        raise BlobError(f"there is no chunk {index}, the blob has {len(manifest.chunks)}")
    return min(CHUNK_BYTES, manifest.size_bytes - index * CHUNK_BYTES)


def is_chunk(manifest: ChunkManifest, index: int, data: Buffer) -> bool:
    """Whether these bytes are the manifest's chunk at `index`."""
    if len(data) != chunk_length(manifest, index):
        return False
    return hash_bytes(data) == manifest.chunks[index]


def compute_manifest(pieces: Iterable[Buffer]) -> ChunkManifest:
    """The manifest of a blob given as pieces of any size, one chunk in memory at a time."""
    hashes, size_bytes = [], 0
    for chunk in split_chunks(pieces):
        hashes.append(BlobHash(hash_bytes(chunk)))
        size_bytes += len(chunk)
    return ChunkManifest(size_bytes, tuple(hashes))


def compute_blob_hash(manifest: ChunkManifest) -> BlobHash:
    """The hash of the blob that a manifest describes."""
    return BlobHash(hash_bytes(encode(manifest)))


def decode_manifest(data: bytes, blob_hash: BlobHash, max_bytes: int) -> ChunkManifest:
    """The manifest of `blob_hash` in bytes from anywhere; a BlobError if it is not that.

    `max_bytes` is the largest blob we are ready to hold: a manifest that promises more is refused
    before a byte of the blob is fetched.
    """
    if hash_bytes(data) != blob_hash:
        raise BlobError(f"these bytes are not the manifest of blob {short_id(blob_hash)}")
    try:
        manifest = decode(ChunkManifest, data)
    except WireError as error:
        raise BlobError(f"the manifest of blob {short_id(blob_hash)}: {error}") from error
    if not 0 < manifest.size_bytes <= max_bytes:
        raise BlobError(f"a blob of {manifest.size_bytes} bytes, 1 to {max_bytes} are allowed")
    if len(manifest.chunks) != count_chunks(manifest.size_bytes):
        raise BlobError(
            f"a manifest of {len(manifest.chunks)} chunks for {manifest.size_bytes} bytes, "
            f"which are {count_chunks(manifest.size_bytes)}"
        )
    return manifest


def split_chunks(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    """The same bytes, cut at every mebibyte."""
    pending = bytearray()
    for piece in pieces:
        view = memoryview(piece).cast("B")
        begin = 0
        if pending:
            begin = min(CHUNK_BYTES - len(pending), len(view))
            pending += view[:begin]
            if len(pending) == CHUNK_BYTES:
                yield bytes(pending)
                pending.clear()
        while len(view) - begin >= CHUNK_BYTES:
            yield view[begin : begin + CHUNK_BYTES]
            begin += CHUNK_BYTES
        pending += view[begin:]
    if pending:
        yield bytes(pending)
