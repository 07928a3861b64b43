"""Teacher targets: for every token of a batch the teacher's largest logits and its logsumexp.

    indices    [samples, tokens, k] rising: the same targets are the same bytes
    logits     [samples, tokens, k] relative to each token's largest, at the run's temperature
    logsumexp  [samples, tokens]    of all logits, relative to the same

Both forms hold these. The plain one is whole tensors (uint16 or uint32, float16, float32); the
compact one, marked by codec parameters, is a bit stream (`codec/top_logits.py`) of about 0.58 times
the bytes. What the k logits leave of the probability is one tail bucket, so they may not claim more
than all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.blobs.dense import Tensor, read_dense, seal_dense
from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.kinds import Origin, draft_header
from psyche_p2p.blobs.layout import BlobView, SealedBlob, seal_blob
from psyche_p2p.codec import (
    TopLogits,
    decode_top_logits,
    encode_top_logits,
    max_top_logits_bytes,
)
from psyche_p2p.errors import WireError
from psyche_p2p.wire import BlobHeader, BlobKind, CodecParameters, TensorEntry

INDICES, LOGITS, LOGSUMEXP = "indices", "logits", "logsumexp"
TEACHER_TENSORS = (INDICES, LOGITS, LOGSUMEXP)
COMPACT = "compact"
_TRANSFORM = "top_k"
_COMPACT_DTYPES = ("rice", "uint8", "uint16")
_INDEX_KINDS = ("uint16", "uint32")
# a float16 logit is off by up to 2**-11 of itself, and an exponential takes that as a factor
_MASS_TOLERANCE = 0.1
# the compact form keeps the mass, but for half a step of its logsumexp
_COMPACT_MASS_TOLERANCE = 1e-3
_STEP_TOKENS = 1 << 12


def seal_teacher_targets(
    origin: Origin,
    indices: NDArray[np.unsignedinteger],
    logits: NDArray[np.float16],
    logsumexp: NDArray[np.float32],
    *,
    tokens: int,
    loss: float,
) -> SealedBlob:
    """The plain blob of a teacher's targets for one batch."""
    tensors: Mapping[str, Tensor] = {INDICES: indices, LOGITS: logits, LOGSUMEXP: logsumexp}
    return seal_dense(BlobKind.TEACHER_TARGETS, origin, tensors, tokens=tokens, loss=loss)


def seal_compact_targets(
    origin: Origin,
    indices: NDArray[np.integer],
    logits: NDArray[np.floating],
    logsumexp: NDArray[np.floating],
    *,
    vocab_size: int,
    tokens: int,
    loss: float,
) -> SealedBlob:
    """The compact blob of a teacher's targets for one batch."""
    samples, positions, top_k = indices.shape
    codec, entries = compact_form(samples, positions, top_k, vocab_size)
    header = draft_header(
        BlobKind.TEACHER_TARGETS, origin, entries, codec=codec, tokens=tokens, loss=loss
    )
    top = TopLogits(
        indices.reshape(-1, top_k).astype(np.int64),
        logits.reshape(-1, top_k).astype(np.float32),
        logsumexp.reshape(-1).astype(np.float32),
    )
    return seal_blob(header, list(encode_top_logits(top, vocab_size).items()))


def compact_form(
    samples: int, positions: int, top_k: int, vocab_size: int
) -> tuple[CodecParameters, tuple[TensorEntry, ...]]:
    """What the header of a compact blob says of it; `chunk_size` is the vocabulary."""
    codec = CodecParameters(_TRANSFORM, COMPACT, vocab_size, top_k)
    return codec, _entries((samples, positions, top_k), _COMPACT_DTYPES)


def plain_form(
    samples: int, positions: int, top_k: int, vocab_size: int
) -> tuple[TensorEntry, ...]:
    """What the header of a plain blob says of it."""
    index_kind = _INDEX_KINDS[vocab_size > 1 << 16]
    return _entries((samples, positions, top_k), (index_kind, "float16", "float32"))


def _entries(shape: tuple[int, int, int], dtypes: tuple[str, str, str]) -> tuple[TensorEntry, ...]:
    shapes = (shape, shape, shape[:2])
    return tuple(
        TensorEntry(name, tensor_shape, dtype, 0, 0)
        for name, tensor_shape, dtype in zip(TEACHER_TENSORS, shapes, dtypes, strict=True)
    )


def read_teacher_targets(view: BlobView) -> TopLogits:
    """The targets in a blob of either form from anywhere; a BlobError if it holds none.

    Arrays are [samples, tokens, k] and [samples, tokens].
    """
    if view.header.codec is not None:
        return _read_compact(view)
    tensors = read_dense(view)
    for problem in _check_plain_layout(tensors):
        raise BlobError(problem)
    return TopLogits(
        tensors[INDICES].astype(np.int64),
        tensors[LOGITS].astype(np.float32),
        tensors[LOGSUMEXP].astype(np.float32),
    )


def check_compact_targets(view: BlobView, samples: int, vocab_size: int | None) -> Iterator[str]:
    """What is wrong with the targets in a compact blob; a BlobError if there are none."""
    codec = _require_codec(view.header)
    if vocab_size is not None and codec.chunk_size != vocab_size:
        yield f"a vocabulary of {codec.chunk_size}, the model's has {vocab_size}"
        return
    top = _read_compact(view)
    if len(top.indices) != samples:
        yield f"targets for {len(top.indices)} samples, the batch has {samples}"
        return
    yield from _check_mass(
        top.logits.reshape(-1, codec.top_k), top.logsumexp.reshape(-1), _COMPACT_MASS_TOLERANCE
    )


def check_teacher_targets(
    tensors: Mapping[str, Tensor], samples: int, vocab_size: int | None
) -> Iterator[str]:
    """What is wrong with plain targets whose layout is sound and whose values are finite."""
    problems = list(_check_plain_layout(tensors))
    yield from problems
    if problems:
        return
    indices, logits, logsumexp = (tensors[name] for name in TEACHER_TENSORS)
    if len(indices) != samples:
        yield f"targets for {len(indices)} samples, the batch has {samples}"
        return
    k = indices.shape[2]
    problems = list(_check_indices(indices.reshape(-1, k), vocab_size))
    yield from problems
    if not problems:
        yield from _check_mass(logits.reshape(-1, k), logsumexp.reshape(-1), _MASS_TOLERANCE)


def _check_plain_layout(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    if tuple(sorted(tensors)) != TEACHER_TENSORS:
        yield f"tensors {', '.join(tensors)} where {', '.join(TEACHER_TENSORS)} must be"
        return
    indices, logits, logsumexp = (tensors[name] for name in TEACHER_TENSORS)
    if indices.dtype.name not in _INDEX_KINDS or logits.dtype.name != "float16":
        yield f"indices of {indices.dtype.name} and logits of {logits.dtype.name}"
    elif logsumexp.dtype.name != "float32":
        yield f"logsumexp of {logsumexp.dtype.name}, float32 is needed"
    elif indices.ndim != 3 or logits.shape != indices.shape or logsumexp.shape != indices.shape[:2]:
        yield f"shapes {indices.shape}, {logits.shape}, {logsumexp.shape} do not fit together"


def _check_indices(indices: Tensor, vocab_size: int | None) -> Iterator[str]:
    for begin in range(0, len(indices), _STEP_TOKENS):
        ids = indices[begin : begin + _STEP_TOKENS].astype(np.int64)
        if (np.diff(ids, axis=1) <= 0).any():
            yield "a token's indices do not rise strictly"
            return
        if vocab_size is not None and (ids >= vocab_size).any():
            yield f"index {ids.max()}, the vocabulary has {vocab_size}"
            return


def _check_mass(logits: Tensor, logsumexp: Tensor, tolerance: float) -> Iterator[str]:
    for begin in range(0, len(logits), _STEP_TOKENS):
        step = slice(begin, begin + _STEP_TOKENS)
        gaps = logits[step].astype(np.float64) - logsumexp[step].astype(np.float64)[:, None]
        mass = np.exp(np.minimum(gaps, 1.0)).sum(axis=1)
        if (mass > 1 + tolerance).any():
            yield f"a token's logits claim {mass.max():.3g} of the probability"
            return


def _read_compact(view: BlobView) -> TopLogits:
    codec = _require_codec(view.header)
    shape = view.header.tensors[0].shape
    samples, positions, top_k = shape
    names = [section.name for section in view.header.sections]
    try:
        sections = dict(zip(names, view.sections(), strict=True))
        top = decode_top_logits(sections, samples * positions, top_k, codec.chunk_size)
    except WireError as error:
        raise BlobError(str(error)) from error
    return TopLogits(
        top.indices.reshape(shape), top.logits.reshape(shape), top.logsumexp.reshape(shape[:2])
    )


def _require_codec(header: BlobHeader) -> CodecParameters:
    """The codec of a compact blob whose numbers fit together and its bytes."""
    codec = header.codec
    if codec is None or (codec.name, codec.payload) != (_TRANSFORM, COMPACT):
        name = "nothing" if codec is None else f"{codec.name} {codec.payload}"
        raise BlobError(f"targets written as {name!r:.100}, {_TRANSFORM} {COMPACT} is known")
    if not 1 <= codec.top_k <= codec.chunk_size:
        raise BlobError(f"{codec.top_k} logits of a vocabulary of {codec.chunk_size}")
    shape = header.tensors[0].shape if header.tensors else ()
    if len(shape) != 3 or header.tensors != compact_form(*shape, codec.chunk_size)[1]:
        raise BlobError("the tensors are not those of compact targets")
    if shape[2] != codec.top_k or not all(shape):
        raise BlobError(f"targets of shape {shape!r:.100} with {codec.top_k} logits a token")
    tokens = math.prod(shape[:2])
    largest = max_top_logits_bytes(tokens, codec.top_k, codec.chunk_size)
    sizes = {section.name: section.size_bytes for section in header.sections}
    if sizes.get(LOGITS) != largest[LOGITS]:  # what decoding allocates is in proportion to these
        raise BlobError(f"{tokens} tokens need {largest[LOGITS]} bytes of logits")
    return codec
