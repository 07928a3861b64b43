"""Whether a blob from a stranger is the one we were promised: one function, every reason.

Cheap checks come first, and each stage runs only if the one before found nothing, so that memory
and time are spent only on a blob whose header says exactly what the run's log makes us expect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from psyche_p2p.blobs.dense import check_dense_layout, check_finite, read_dense
from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.kinds import check_kind
from psyche_p2p.blobs.layout import BlobView, hash_payload, read_layout
from psyche_p2p.blobs.manifest import Buffer
from psyche_p2p.blobs.teacher import check_compact_targets, check_teacher_targets
from psyche_p2p.blobs.update import read_update
from psyche_p2p.ids import (
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

_MAX_DETAIL_CHARACTERS = 400


class Flaw(Enum):
    """What kind of thing is wrong. The values are protocol names (docs/protocol.md)."""

    SIZE = "size"
    LAYOUT = "layout"
    HEADER = "header"
    UNEXPECTED = "unexpected"
    PAYLOAD_HASH = "payload_hash"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a blob is unacceptable."""

    flaw: Flaw
    detail: str

    def __str__(self) -> str:
        """One line, however long a name a stranger chose."""
        return f"{self.flaw.value}: {self.detail[:_MAX_DETAIL_CHARACTERS]}"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the run's log and the commitment say the blob must be; None where anything goes.

    Nothing has a default: whoever does not care has to say so.
    """

    max_bytes: int
    kind: BlobKind | None
    run_id: RunId | None
    epoch: EpochIndex | None
    round: RoundIndex | None
    batch: BatchInterval | None
    producer: PeerId | None
    tier: Tier | None
    schema_hash: SchemaHash | None
    codec: CodecParameters | None
    tensors: tuple[TensorEntry, ...] | None
    tokens: int | None
    payload_hash: BlobHash | None
    vocab_size: int | None

    @staticmethod
    def of_anything(max_bytes: int) -> Expectation:
        """For looking at a blob of which nothing is known but that it should make sense."""
        unknown = {field.name: None for field in fields(Expectation) if field.name != "max_bytes"}
        return Expectation(max_bytes=max_bytes, **unknown)


def validate_blob(data: Buffer, expected: Expectation) -> list[Reason]:
    """Every reason to refuse a blob, or an empty list. Raises nothing, whatever the bytes are."""
    if not 0 < len(data) <= expected.max_bytes:
        cause = f"{len(data)} bytes, 1 to {expected.max_bytes} are allowed"
        return [Reason(Flaw.SIZE, cause)]
    try:
        view = read_layout(data)
    except BlobError as error:
        return [Reason(Flaw.LAYOUT, str(error))]
    reasons = [Reason(Flaw.HEADER, problem) for problem in check_kind(view.header)]
    reasons += _check_expected(view.header, expected)
    if reasons:
        return reasons
    if hash_payload(view.payload) != view.header.payload_hash:
        return [Reason(Flaw.PAYLOAD_HASH, "the sections are not what the header's hash says")]
    try:
        return [Reason(Flaw.CONTENT, problem) for problem in _check_content(view, expected)]
    except BlobError as error:
        return [Reason(Flaw.CONTENT, str(error))]


def _check_expected(header: BlobHeader, expected: Expectation) -> Iterator[Reason]:
    for name in _COMPARED:
        wanted, found = getattr(expected, name), getattr(header, name)
        if wanted is not None and found != wanted:
            yield Reason(Flaw.UNEXPECTED, f"{name} {_show(found)}, expected {_show(wanted)}")
    if expected.tensors is not None and header.tensors != expected.tensors:
        difference = _first_difference(header.tensors, expected.tensors)
        yield Reason(Flaw.UNEXPECTED, f"tensors: {difference}")


def _check_content(view: BlobView, expected: Expectation) -> Iterator[str]:
    if view.header.kind is BlobKind.UPDATE:
        read_update(view)
        return
    batch = view.header.batch
    if batch is not None and view.header.codec is not None:
        yield from check_compact_targets(view, batch.size, expected.vocab_size)
        return
    problems = list(check_dense_layout(view.header))
    yield from problems
    if problems:
        return
    tensors = read_dense(view)
    for name, array in tensors.items():
        problems += check_finite(name, array)
    yield from problems
    if batch is not None and view.header.kind is BlobKind.TEACHER_TARGETS and not problems:
        yield from check_teacher_targets(tensors, batch.size, expected.vocab_size)


def _first_difference(found: tuple[TensorEntry, ...], wanted: tuple[TensorEntry, ...]) -> str:
    for left, right in zip(found, wanted, strict=False):
        if left != right:
            return f"{_show(left)}, expected {_show(right)}"
    return f"{len(found)} of them, expected {len(wanted)}"


def _show(value: Any) -> str:
    """A value for one line of a reason, however long a stranger made it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, BlobKind):
        return value.name.lower()
    if isinstance(value, TensorEntry):
        chunks = f"{value.chunk_rows}x{value.chunk_columns}"
        return f"{value.name!r:.100} {value.shape!r:.60} {value.dtype:.20} in chunks of {chunks}"
    return f"{value}"[:200]


_COMPARED = (
    "kind",
    "run_id",
    "epoch",
    "round",
    "batch",
    "producer",
    "tier",
    "schema_hash",
    "codec",
    "tokens",
    "payload_hash",
)
