"""The bytes of a blob: a framed header, then its sections without gaps.

Sealing needs the sections first, because the header carries their sizes and their hash. Reading
trusts nothing: the header must be canonical and the sections must fill the rest exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blake3 import blake3

from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.manifest import Buffer, compute_blob_hash, compute_manifest
from psyche_p2p.errors import WireError
from psyche_p2p.ids import BlobHash
from psyche_p2p.wire import (
    BlobHeader,
    ChunkManifest,
    Section,
    decode,
    encode,
    encode_frame,
    max_encoded_bytes,
)
from psyche_p2p.wire.varint import MAX_VARINT_BYTES, decode_varint

BLOB_VERSION = 1
_HASH_STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class SealedBlob:
    """A blob ready to be stored: its bytes in pieces, so that large tensors are never joined."""

    header: BlobHeader
    manifest: ChunkManifest
    pieces: tuple[Buffer, ...]

    @property
    def blob_hash(self) -> BlobHash:
        return compute_blob_hash(self.manifest)

    def to_bytes(self) -> bytes:
        """All of it in one string."""
        return b"".join(self.pieces)


def seal_blob(draft: BlobHeader, sections: Sequence[tuple[str, Buffer]]) -> SealedBlob:
    """Complete a header's `sections` and `payload_hash`, and put the sections behind it."""
    buffers = [memoryview(data).cast("B") for _, data in sections]
    names = [name for name, _ in sections]
    header = replace(
        draft,
        sections=tuple(Section(name, len(data)) for name, data in zip(names, buffers, strict=True)),
        payload_hash=hash_payload(*buffers),
    )
    pieces: tuple[Buffer, ...] = (encode_frame(encode(header)), *buffers)
    return SealedBlob(header, compute_manifest(pieces), pieces)


def hash_payload(*sections: Buffer) -> BlobHash:
    """BLAKE3 of sections one after the other: equal ones from two trainers are copies."""
    hasher = blake3()
    for section in sections:
        for begin in range(0, len(section), _HASH_STEP_BYTES):
            hasher.update(section[begin : begin + _HASH_STEP_BYTES])
    return BlobHash(hasher.digest())


@dataclass(frozen=True, slots=True, eq=False)
class BlobView:
    """A blob in memory or in a mapped file: its header, and its sections without copying them."""

    header: BlobHeader
    data: memoryview
    payload_begin: int

    @property
    def payload(self) -> memoryview:
        return self.data[self.payload_begin :]

    def sections(self) -> list[memoryview]:
        """The bytes of every section, in the header's order."""
        views, begin = [], self.payload_begin
        for section in self.header.sections:
            views.append(self.data[begin : begin + section.size_bytes])
            begin += section.size_bytes
        return views


def read_layout(data: Buffer) -> BlobView:
    """The parts of a blob from anywhere; a BlobError if they do not fit together."""
    view = memoryview(data).cast("B")
    begin, end = _find_header(view)
    try:
        header = decode(BlobHeader, bytes(view[begin:end]))
    except WireError as error:
        raise BlobError(f"the header: {error}") from error
    if header.version != BLOB_VERSION:
        raise BlobError(f"blob version {header.version}, this software reads {BLOB_VERSION}")
    declared = sum(section.size_bytes for section in header.sections)
    if declared != len(view) - end:
        raise BlobError(f"sections of {declared} bytes declared, {len(view) - end} are there")
    return BlobView(header, view, end)


def _find_header(view: memoryview) -> tuple[int, int]:
    try:
        prefix = decode_varint(bytes(view[:MAX_VARINT_BYTES]))
    except ValueError as error:
        raise BlobError(f"the header's length is {error}") from error
    if prefix is None:
        raise BlobError("the blob ends inside its header's length")
    size, used = prefix
    if size > max_encoded_bytes(BlobHeader):
        cause = f"a header of {size} bytes, at most {max_encoded_bytes(BlobHeader)} are allowed"
        raise BlobError(cause)
    if used + size > len(view):
        raise BlobError(f"the blob ends inside its header of {size} bytes")
    return used, used + size
