"""What each kind of blob must and must not say in its header, whoever asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from psyche_p2p.blobs.layout import BLOB_VERSION
from psyche_p2p.ids import (
    MAX_TIER,
    BatchInterval,
    BlobHash,
    EpochIndex,
    PeerId,
    RoundIndex,
    RunId,
    SchemaHash,
    Tier,
)
from psyche_p2p.wire import BlobHeader, BlobKind, CodecParameters, TensorEntry

_UNSEALED = BlobHash(bytes(32))
_FROM_A_BATCH = (BlobKind.UPDATE, BlobKind.TEACHER_TARGETS)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a blob was made for: the run, the round, and for work on a batch who did which."""

    run_id: RunId
    epoch: EpochIndex
    round: RoundIndex
    tier: Tier
    schema_hash: SchemaHash
    batch: BatchInterval | None = None
    producer: PeerId | None = None


def draft_header(
    kind: BlobKind,
    origin: Origin,
    tensors: tuple[TensorEntry, ...],
    *,
    codec: CodecParameters | None = None,
    tokens: int = 0,
    loss: float = 0.0,
) -> BlobHeader:
    """A header without sections, for `seal_blob` to complete."""
    return BlobHeader(
        version=BLOB_VERSION,
        kind=kind,
        run_id=origin.run_id,
        epoch=origin.epoch,
        round=origin.round,
        batch=origin.batch,
        producer=origin.producer,
        tier=origin.tier,
        schema_hash=origin.schema_hash,
        codec=codec,
        tensors=tensors,
        sections=(),
        tokens=tokens,
        loss=loss,
        payload_hash=_UNSEALED,
    )


def check_kind(header: BlobHeader) -> Iterator[str]:
    """What the header of this kind lacks or should not have."""
    comes_from_batch = header.kind in _FROM_A_BATCH
    has_codec = header.codec is not None
    # targets have one in their compact form only
    may_have_codec = has_codec and header.kind is BlobKind.TEACHER_TARGETS
    for name, is_there, should_be in (
        ("batch", header.batch is not None, comes_from_batch),
        ("producer", header.producer is not None, comes_from_batch),
        ("codec", has_codec, may_have_codec or header.kind is BlobKind.UPDATE),
    ):
        if is_there != should_be:
            verb = "needs a" if should_be else "may not have a"
            yield f"a blob of kind {header.kind.name.lower()} {verb} {name}"
    if not header.tensors:
        yield "no tensors"
    if header.tier > MAX_TIER:
        yield f"tier {header.tier}, at most {MAX_TIER} is possible"
    for what, names in (
        ("tensor", [tensor.name for tensor in header.tensors]),
        ("section", [section.name for section in header.sections]),
    ):
        (name, times), *_ = Counter(names).most_common(1) or [("", 1)]
        if times > 1:
            yield f"{what} {name!r} {times} times"
