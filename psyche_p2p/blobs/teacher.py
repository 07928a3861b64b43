"""Teacher targets: for every token of a batch the teacher's largest logits and its logsumexp.

    indices    [samples, tokens, k] uint16 or uint32, rising: the same targets are the same bytes
    logits     [samples, tokens, k] float16
    logsumexp  [samples, tokens]    float32

What the k logits leave of the probability is one tail bucket, so they may not claim more than all
of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.blobs.dense import Tensor, seal_dense
from psyche_p2p.blobs.kinds import Origin
from psyche_p2p.blobs.layout import SealedBlob
from psyche_p2p.wire import BlobKind

INDICES, LOGITS, LOGSUMEXP = "indices", "logits", "logsumexp"
TEACHER_TENSORS = (INDICES, LOGITS, LOGSUMEXP)
_INDEX_KINDS = ("uint16", "uint32")
# a float16 logit is off by up to 2**-11 of itself, and an exponential takes that as a factor
_MASS_TOLERANCE = 0.1
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
    """The blob of a teacher's targets for one batch."""
    tensors: Mapping[str, Tensor] = {INDICES: indices, LOGITS: logits, LOGSUMEXP: logsumexp}
    return seal_dense(BlobKind.TEACHER_TARGETS, origin, tensors, tokens=tokens, loss=loss)


def check_teacher_targets(
    tensors: Mapping[str, Tensor], samples: int, vocab_size: int | None
) -> Iterator[str]:
    """What is wrong with targets whose layout is sound and whose values are finite."""
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
    elif len(indices) != samples:
        yield f"targets for {len(indices)} samples, the batch has {samples}"
    else:
        k = indices.shape[2]
        yield from _check_values(
            indices.reshape(-1, k), logits.reshape(-1, k), logsumexp.reshape(-1), vocab_size
        )


def _check_values(
    indices: Tensor, logits: Tensor, logsumexp: Tensor, vocab_size: int | None
) -> Iterator[str]:
    for begin in range(0, len(indices), _STEP_TOKENS):
        step = slice(begin, begin + _STEP_TOKENS)
        ids = indices[step].astype(np.int64)
        if (np.diff(ids, axis=1) <= 0).any():
            yield "a token's indices do not rise strictly"
            return
        if vocab_size is not None and (ids >= vocab_size).any():
            yield f"index {ids.max()}, the vocabulary has {vocab_size}"
            return
        gaps = logits[step].astype(np.float64) - logsumexp[step].astype(np.float64)[:, None]
        mass = np.exp(np.minimum(gaps, 1.0)).sum(axis=1)
        if (mass > 1 + _MASS_TOLERANCE).any():
            yield f"a token's logits claim {mass.max():.3g} of the probability"
            return
