"""Updates as blobs: a trainer's sparse coefficients for one batch, with the grid they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.kinds import Origin, draft_header
from psyche_p2p.blobs.layout import BlobView, SealedBlob, seal_blob
from psyche_p2p.codec import (
    MAX_CHUNK_SIZE,
    ChunkGrid,
    Coefficients,
    Payload,
    TensorGrid,
    decode_coefficients,
    encode_coefficients,
    max_section_bytes,
)
from psyche_p2p.errors import ModelError, WireError
from psyche_p2p.wire import BlobHeader, BlobKind, CodecParameters, TensorEntry

_PARAMETER_DTYPE = "float32"
_BITS_PER_BYTE = 8
# decoding takes up to 56 bytes a chunk, and this many are 34 billion parameters in 64 x 64 chunks
_MAX_CHUNKS = 1 << 23


class Transform(Enum):
    """What the coefficients are coefficients of. The values are protocol names."""

    DCT = "dct"
    """The orthonormal two-dimensional DCT of each chunk."""
    NONE = "none"
    """The chunk itself."""


@dataclass(frozen=True, slots=True)
class Update:
    """A decoded update."""

    header: BlobHeader
    grid: ChunkGrid
    transform: Transform
    coefficients: Coefficients


def seal_update(
    origin: Origin,
    grid: ChunkGrid,
    coefficients: Coefficients,
    transform: Transform,
    *,
    chunk_size: int,
    tokens: int,
    loss: float,
) -> SealedBlob:
    """The blob of an update."""
    codec = CodecParameters(
        transform.value, coefficients.payload.value, chunk_size, coefficients.top_k
    )
    header = draft_header(
        BlobKind.UPDATE, origin, grid_entries(grid), codec=codec, tokens=tokens, loss=loss
    )
    return seal_blob(header, list(encode_coefficients(grid, coefficients).items()))


def read_update(view: BlobView) -> Update:
    """The update in a blob from anywhere; a BlobError if it is none.

    Whether it is the update one wanted is for `validate_blob` to say.
    """
    codec = require_codec(view.header)
    grid = read_grid(view.header)
    payload = Payload(codec.payload)
    _require_sizes(view.header, grid, payload, codec.top_k)
    names = [section.name for section in view.header.sections]
    try:
        sections = dict(zip(names, view.sections(), strict=True))
        coefficients = decode_coefficients(grid, payload, codec.top_k, sections)
    except WireError as error:
        raise BlobError(str(error)) from error
    return Update(view.header, grid, Transform(codec.name), coefficients)


def grid_entries(grid: ChunkGrid) -> tuple[TensorEntry, ...]:
    """How a header lists the tensors of a grid."""
    return tuple(
        TensorEntry(
            tensor.name, tensor.shape, _PARAMETER_DTYPE, tensor.chunk_rows, tensor.chunk_columns
        )
        for tensor in grid.tensors
    )


def read_grid(header: BlobHeader) -> ChunkGrid:
    """The grid that an update's header describes; a BlobError if there can be no such grid."""
    try:
        grid = ChunkGrid(
            tuple(
                TensorGrid(entry.name, entry.shape, entry.chunk_rows, entry.chunk_columns)
                for entry in header.tensors
            )
        )
    except ModelError as error:
        raise BlobError(error.cause) from error
    for entry in header.tensors:
        if entry.dtype != _PARAMETER_DTYPE:
            raise BlobError(f"an update of {entry.dtype} parameters, they are {_PARAMETER_DTYPE}")
    return grid


def require_codec(header: BlobHeader) -> CodecParameters:
    """An update's codec parameters; a BlobError if they mean nothing."""
    codec = header.codec
    if codec is None:
        raise BlobError("an update needs codec parameters")
    if codec.name not in [transform.value for transform in Transform]:
        raise BlobError(f"unknown transform {codec.name!r}")
    if codec.payload not in [payload.value for payload in Payload]:
        raise BlobError(f"unknown payload {codec.payload!r}")
    if not 1 <= codec.chunk_size <= MAX_CHUNK_SIZE:
        raise BlobError(f"chunks of {codec.chunk_size}, 1 to {MAX_CHUNK_SIZE} are possible")
    if not 1 <= codec.top_k <= MAX_CHUNK_SIZE**2:
        raise BlobError(f"top_k {codec.top_k}, 1 to {MAX_CHUNK_SIZE**2} are possible")
    return codec


def _require_sizes(header: BlobHeader, grid: ChunkGrid, payload: Payload, top_k: int) -> None:
    """Refuse what would take more memory than its bytes can account for."""
    largest = max_section_bytes(grid, payload, top_k)
    for section in header.sections:
        if section.size_bytes > largest.get(section.name, 0):
            raise BlobError(
                f"section {section.name!r} of {section.size_bytes} bytes, these tensors need at "
                f"most {largest.get(section.name, 0)}"
            )
    if grid.chunks > _MAX_CHUNKS:
        raise BlobError(f"{grid.chunks} chunks, at most {_MAX_CHUNKS} are allowed")
    # a live chunk sends bits, a dead one is named in at least one bit
    bits = _BITS_PER_BYTE * sum(section.size_bytes for section in header.sections)
    if grid.chunks > bits:
        raise BlobError(f"{grid.chunks} chunks declared, {bits} bits cannot describe them")
