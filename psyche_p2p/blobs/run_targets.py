"""Teacher targets as a run's configuration wants them: sealed in its form, expected in no other."""

from __future__ import annotations

import numpy as np

from psyche_p2p.blobs.kinds import Origin
from psyche_p2p.blobs.layout import SealedBlob
from psyche_p2p.blobs.teacher import (
    compact_form,
    plain_form,
    seal_compact_targets,
    seal_teacher_targets,
)
from psyche_p2p.blobs.validate import Expectation
from psyche_p2p.codec import TopLogits
from psyche_p2p.config import RunConfig
from psyche_p2p.ids import BlobHash
from psyche_p2p.wire import BlobKind


def seal_run_targets(config: RunConfig, origin: Origin, top: TopLogits) -> SealedBlob:
    """The blob of a teacher's targets; arrays are [samples, tokens, k] and [samples, tokens]."""
    tokens, vocab_size = len(top.indices) * config.data.sequence_length, config.model.vocab_size
    if config.distillation.targets_form == "compact":
        return seal_compact_targets(
            origin,
            top.indices,
            top.logits,
            top.logsumexp,
            vocab_size=vocab_size,
            tokens=tokens,
            loss=0.0,
        )
    indices = top.indices.astype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
    return seal_teacher_targets(
        origin, indices, top.logits.astype(np.float16), top.logsumexp, tokens=tokens, loss=0.0
    )


def expect_run_targets(
    config: RunConfig,
    origin: Origin,
    *,
    max_bytes: int | None = None,
    payload_hash: BlobHash | None = None,
) -> Expectation:
    """What the targets of this origin have to be, for a witness and for the student."""
    samples = 0 if origin.batch is None else origin.batch.size
    positions = config.distillation.kept_positions(config.data.sequence_length)
    shape = (samples, positions, config.distillation.top_k)
    codec, entries = None, plain_form(*shape, config.model.vocab_size)
    if config.distillation.targets_form == "compact":
        codec, entries = compact_form(*shape, config.model.vocab_size)
    return Expectation(
        max_bytes=config.network.max_blob_bytes if max_bytes is None else max_bytes,
        kind=BlobKind.TEACHER_TARGETS,
        run_id=origin.run_id,
        epoch=origin.epoch,
        round=origin.round,
        batch=origin.batch,
        producer=origin.producer,
        tier=origin.tier,
        schema_hash=origin.schema_hash,
        codec=codec,
        tensors=entries,
        tokens=samples * config.data.sequence_length,
        payload_hash=payload_hash,
        vocab_size=config.model.vocab_size,
    )
