"""Blobs from strangers: every kind of lie is named."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from psyche_p2p.blobs import (
    Expectation,
    Flaw,
    SealedBlob,
    Transform,
    read_dense,
    read_layout,
    read_update,
    seal_dense,
    seal_teacher_targets,
    seal_update,
    validate_blob,
)
from psyche_p2p.blobs.layout import seal_blob
from psyche_p2p.blobs.manifest import Buffer
from psyche_p2p.codec import Coefficients, Payload
from psyche_p2p.ids import (
    BatchInterval,
    BlobHash,
    EpochIndex,
    RoundIndex,
    RunId,
    SchemaHash,
    Tier,
)
from psyche_p2p.wire import (
    BlobKind,
    CodecParameters,
    Section,
    TensorEntry,
    encode,
    encode_frame,
)
from tests.blobs.builders import (
    MAX_BYTES,
    ORIGIN,
    SHARED,
    STRANGER,
    expect,
    make_compact_targets,
    make_parameters,
    make_targets,
    make_update,
)
from tests.codec.builders import assert_same, make_coefficients, make_grid

Maker = Callable[[], SealedBlob]
MAKERS: dict[str, Maker] = {
    "update": make_update,
    "targets": make_targets,
    "compact targets": make_compact_targets,
    "parameters": make_parameters,
}
ANYTHING = Expectation.of_anything(MAX_BYTES)
ANOTHER_HASH = bytes(range(32))


def resealed(sealed: SealedBlob, sections: dict[str, bytes] | None = None, **change: Any) -> bytes:
    """The blob with another header and other sections, all hashes and sizes made to fit."""
    parts = dict(zip(names(sealed), map(bytes, sealed.pieces[1:]), strict=True))
    header = replace(sealed.header, **change)
    return seal_blob(header, list((parts | (sections or {})).items())).to_bytes()


def with_header(sealed: SealedBlob, **change: Any) -> bytes:
    """The blob with a header that says something else about the same sections."""
    header = encode(replace(sealed.header, **change))
    return encode_frame(header) + b"".join(sealed.pieces[1:])


def names(sealed: SealedBlob) -> list[str]:
    return [section.name for section in sealed.header.sections]


def flaws(data: Buffer, expected: Expectation) -> set[Flaw]:
    return {reason.flaw for reason in validate_blob(data, expected)}


def details(data: Buffer, expected: Expectation) -> str:
    return "; ".join(map(str, validate_blob(data, expected)))


@pytest.mark.parametrize("kind", MAKERS)
def test_an_honest_blob_is_accepted(kind: str) -> None:
    sealed = MAKERS[kind]()
    assert validate_blob(sealed.to_bytes(), expect(sealed)) == []
    assert validate_blob(memoryview(sealed.to_bytes()), ANYTHING) == []


@pytest.mark.parametrize("payload", list(Payload))
def test_an_update_survives_the_journey(payload: Payload) -> None:
    sealed = make_update(payload=payload)
    update = read_update(read_layout(sealed.to_bytes()))
    assert update.grid == make_grid()
    assert update.transform is Transform.DCT
    generator = np.random.default_rng(0)
    assert_same(update.coefficients, make_coefficients(make_grid(), generator, payload=payload))


def test_dense_tensors_survive_the_journey() -> None:
    tensors: dict[str, Any] = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array(3, np.uint8),
        "c": np.asfortranarray(np.arange(4, dtype=np.uint16).reshape(2, 2)),
    }
    sealed = seal_dense(BlobKind.PARAMETERS, SHARED, tensors)
    found = read_dense(read_layout(sealed.to_bytes()))
    assert list(found) == ["a", "b", "c"]
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_same_parameters_are_the_same_blob_whoever_writes_them() -> None:
    assert make_parameters(3).blob_hash == make_parameters(3).blob_hash
    assert make_parameters(3).blob_hash != make_parameters(4).blob_hash


ANOTHER: dict[str, Any] = {
    "run_id": RunId(ANOTHER_HASH),
    "epoch": EpochIndex(2),
    "round": RoundIndex(8),
    "batch": BatchInterval(0, 4),
    "producer": STRANGER,
    "tier": Tier(1),
    "schema_hash": SchemaHash(ANOTHER_HASH),
    "codec": CodecParameters("dct", "signs", 16, 9),
    "tokens": 1,
    "payload_hash": BlobHash(ANOTHER_HASH),
    "kind": BlobKind.TEACHER_TARGETS,
}


@pytest.mark.parametrize("field", ANOTHER)
def test_a_blob_made_for_something_else_is_refused(field: str) -> None:
    sealed = make_update()
    expected = replace(expect(sealed), **{field: ANOTHER[field]})
    reasons = validate_blob(sealed.to_bytes(), expected)
    assert [reason.flaw for reason in reasons] == [Flaw.UNEXPECTED]
    assert field in str(reasons[0])


def test_every_difference_is_told_at_once() -> None:
    sealed = make_update()
    data = with_header(sealed, round=RoundIndex(9), producer=STRANGER, run_id=RunId(ANOTHER_HASH))
    told = details(data, expect(sealed))
    assert "round 9, expected 7" in told
    assert f"producer {STRANGER}, expected" in told
    assert f"run_id {ANOTHER_HASH.hex()}, expected {ORIGIN.run_id.hex()}" in told


def test_another_tiers_tensors_are_refused() -> None:
    sealed = make_update(origin=replace(ORIGIN, tier=Tier(1)))
    told = details(sealed.to_bytes(), expect(make_update()))
    assert "tier 1, expected 0" in told
    assert "tensors: 'ffn.down' (32, 64)" in told


def test_too_large_is_refused_unread() -> None:
    sealed = make_update()
    data = sealed.to_bytes()
    tight = replace(expect(sealed), max_bytes=len(data) - 1)
    assert flaws(data, tight) == {Flaw.SIZE}
    assert flaws(b"", tight) == {Flaw.SIZE}


@pytest.mark.parametrize("kind", MAKERS)
def test_sections_that_are_not_the_headers_are_refused(kind: str) -> None:
    sealed = MAKERS[kind]()
    data = bytearray(sealed.to_bytes())
    data[-1] ^= 1
    assert flaws(data, expect(sealed)) == {Flaw.PAYLOAD_HASH}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_kind_without_what_it_needs_is_refused(kind: str) -> None:
    sealed = MAKERS[kind]()
    is_shared = sealed.header.batch is None
    wrong = {
        "batch": ORIGIN.batch if is_shared else None,
        "producer": ORIGIN.producer if is_shared else None,
        "codec": None if kind == "update" else CodecParameters("dct", "signs", 16, 8),
    }
    if "targets" in kind:  # of which one form has a codec and the other has none
        del wrong["codec"]
    told = details(with_header(sealed, **wrong), ANYTHING)
    for name in wrong:
        assert f"a {name}" in told
    assert flaws(with_header(sealed, version=2), ANYTHING) == {Flaw.LAYOUT}
    assert flaws(with_header(sealed, tier=Tier(8)), ANYTHING) == {Flaw.HEADER}


def test_tensors_that_repeat_or_overlap_are_refused() -> None:
    for sealed in (make_update(), make_parameters()):
        first, *rest = sealed.header.tensors
        assert "2 times" in details(with_header(sealed, tensors=(first, first, *rest)), ANYTHING)
        assert "sorted" in details(with_header(sealed, tensors=(*rest, first)), ANYTHING)
        assert "no tensors" in details(with_header(sealed, tensors=()), ANYTHING)
        section = sealed.header.sections[0]
        twice = (section, section, *sealed.header.sections[2:])
        assert validate_blob(with_header(sealed, sections=twice), ANYTHING) != []


@pytest.mark.parametrize("by", [-1, 1, 2**40, 2**62])
def test_sections_that_claim_more_or_less_than_there_is_are_refused(by: int) -> None:
    for make in MAKERS.values():
        sealed = make()
        *rest, last = sealed.header.sections
        lie = (*rest, Section(last.name, last.size_bytes + by))
        assert "bytes declared" in details(with_header(sealed, sections=lie), ANYTHING)
        moved = (Section(rest[0].name, rest[0].size_bytes + 1), *rest[1:], last)
        shorter = (*moved[:-1], Section(last.name, last.size_bytes - 1))
        assert flaws(with_header(sealed, sections=shorter), ANYTHING) == {Flaw.CONTENT}


ABSURD_SHAPES = [(2**62, 2**62), (2**40,), (0, 5), (1,) * 5000, (2**62,) * 3000, (3, 2**31)]


@pytest.mark.parametrize("shape", ABSURD_SHAPES, ids=lambda shape: f"{shape!r:.20}")
@pytest.mark.parametrize("kind", MAKERS)
def test_absurd_counts_take_no_memory(kind: str, shape: tuple[int, ...]) -> None:
    sealed = MAKERS[kind]()
    first, *rest = sealed.header.tensors
    data = with_header(sealed, tensors=(replace(first, shape=shape), *rest))
    tracemalloc.start()
    assert flaws(data, ANYTHING) == {Flaw.CONTENT}
    assert len(details(data, ANYTHING)) < 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_more_chunks_than_bits_are_refused() -> None:
    sealed = make_update()
    entry = TensorEntry("w", (2**14, 2**10), "float32", 64, 2)
    assert "bits cannot describe them" in details(with_header(sealed, tensors=(entry,)), ANYTHING)
    entry = TensorEntry("w", (2**20, 2**20), "float32", 64, 64)
    assert "at most 8388608 are allowed" in details(with_header(sealed, tensors=(entry,)), ANYTHING)


@pytest.mark.parametrize(
    ("codec", "reason"),
    [
        (CodecParameters("fft", "signs", 16, 8), "unknown transform 'fft'"),
        (CodecParameters("dct", "guesses", 16, 8), "unknown payload 'guesses'"),
        (CodecParameters("dct", "signs", 0, 8), "chunks of 0"),
        (CodecParameters("dct", "signs", 2**31, 8), "chunks of 2147483648"),
        (CodecParameters("dct", "signs", 16, 0), "top_k 0"),
        (CodecParameters("dct", "signs", 16, 2**31), "top_k 2147483648"),
        (CodecParameters("dct", "values", 16, 8), "section"),
    ],
)
def test_codec_parameters_that_mean_nothing_are_refused(
    codec: CodecParameters, reason: str
) -> None:
    assert reason in details(with_header(make_update(), codec=codec), ANYTHING)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    parameters = {"w": np.array([1, value, 2], np.float32)}
    sealed = seal_dense(BlobKind.PARAMETERS, SHARED, parameters)
    assert "w holds a value that is not finite" in details(sealed.to_bytes(), ANYTHING)
    update = make_update(payload=Payload.VALUES)
    grid, generator = make_grid(), np.random.default_rng(0)
    good = make_coefficients(grid, generator, payload=Payload.VALUES)
    values = good.groups[0].values
    assert values is not None
    values[3] = value
    bad = seal_update(
        ORIGIN,
        grid,
        Coefficients(Payload.VALUES, good.top_k, good.groups),
        Transform.DCT,
        chunk_size=16,
        tokens=1024,
        loss=2.5,
    )
    assert "zero or not finite" in details(
        bad.to_bytes(), replace(expect(update), payload_hash=None)
    )


def test_teacher_targets_that_cannot_be_are_refused() -> None:
    indices = np.array([[[1, 5, 299]]], np.uint16)
    logits = np.zeros((1, 1, 3), np.float16)
    total = np.full((1, 1), 2.0, np.float32)

    def told(indices: Any, logits: Any, total: Any, samples: int = 1) -> str:
        origin = replace(ORIGIN, batch=BatchInterval(0, samples))
        sealed = seal_teacher_targets(origin, indices, logits, total, tokens=1, loss=0.0)
        return details(sealed.to_bytes(), replace(ANYTHING, vocab_size=300))

    assert told(indices, logits, total) == ""
    assert told(indices.astype(np.uint32), logits, total) == ""
    assert "do not rise" in told(indices[:, :, ::-1], logits, total)
    assert "index 300, the vocabulary has 300" in told(indices + 1, logits, total)
    assert "claim 3 of the probability" in told(indices, logits, total * 0)
    assert "not finite" in told(indices, logits, total * np.nan)
    assert "targets for 1 samples, the batch has 2" in told(indices, logits, total, 2)
    assert "do not fit together" in told(indices, logits, total[:, :, None])
    assert "indices of float16" in told(logits, logits, total)
    assert "logsumexp of float16" in told(indices, logits, total.astype(np.float16))


def test_compact_targets_that_cannot_be_are_refused() -> None:
    good = make_compact_targets()
    codec, tensors = good.header.codec, good.header.tensors
    assert codec is not None

    def told(data: bytes, vocab_size: int | None = None) -> str:
        return details(data, replace(ANYTHING, vocab_size=vocab_size))

    assert told(good.to_bytes(), 300) == ""
    assert "the batch has 5" in told(with_header(good, batch=BatchInterval(0, 5)))
    assert "a vocabulary of 300, the model's has 256" in told(good.to_bytes(), 256)
    for change, reason in (
        ({"name": "dct"}, "targets written as 'dct compact'"),
        ({"payload": "signs"}, "targets written as 'top_k signs'"),
        ({"top_k": 6}, "with 6 logits a token"),
        ({"top_k": 0}, "0 logits of a vocabulary of 300"),
        ({"chunk_size": 4}, "5 logits of a vocabulary of 4"),
    ):
        assert reason in told(with_header(good, codec=replace(codec, **change))), change
    other = (replace(tensors[0], dtype="uint16"), *tensors[1:])
    assert "not those of compact targets" in told(with_header(good, tensors=other))
    assert "not those of compact targets" in told(with_header(good, tensors=tensors[:2]))
    assert "claim" in told(resealed(good, {"logsumexp": bytes(128)}))
    codes = bytes(good.pieces[3])
    assert "relative to" in told(resealed(good, {"logits": bytes([9] * len(codes))}))
    assert "bytes of logits" in told(resealed(good, {"logits": codes[:-1]}))
    assert "unary numbers" in told(resealed(good, {"unary": bytes(good.pieces[2])[:-1]}))
