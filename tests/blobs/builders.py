"""Small blobs of every kind, and what an honest reader would expect them to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from psyche_p2p.blobs import (
    Expectation,
    Origin,
    SealedBlob,
    Transform,
    read_layout,
    read_teacher_targets,
    seal_compact_targets,
    seal_dense,
    seal_teacher_targets,
    seal_update,
)
from psyche_p2p.codec import ChunkGrid, Coefficients, GroupCoefficients, Payload, TensorGrid
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BatchInterval, EpochIndex, RoundIndex, RunId, SchemaHash, Tier
from psyche_p2p.wire import BlobKind
from tests.codec.builders import make_coefficients, make_grid

TRAINER = Identity.from_seed(hash_bytes(b"trainer")).peer_id
STRANGER = Identity.from_seed(hash_bytes(b"stranger")).peer_id
MAX_BYTES = 1 << 24
VOCAB_SIZE = 300
TOP_K = 8

ORIGIN = Origin(
    run_id=RunId(hash_bytes(b"run")),
    epoch=EpochIndex(1),
    round=RoundIndex(7),
    tier=Tier(0),
    schema_hash=SchemaHash(hash_bytes(b"schema")),
    batch=BatchInterval(64, 68),
    producer=TRAINER,
)
SHARED = replace(ORIGIN, batch=None, producer=None)


def make_update(
    seed: int = 0, *, origin: Origin = ORIGIN, payload: Payload = Payload.SIGNS, dead: float = 0.1
) -> SealedBlob:
    """An update of the codec tests' small model."""
    grid = make_grid(tier=origin.tier)
    coefficients = make_coefficients(
        grid, np.random.default_rng(seed), payload=payload, top_k=TOP_K, dead=dead
    )
    return seal_update(
        origin, grid, coefficients, Transform.DCT, chunk_size=16, tokens=1024, loss=2.5
    )


# a: one chunk, b: two chunks, all 2 x 4
TINY_GRID = ChunkGrid((TensorGrid("a", (2, 4), 2, 4), TensorGrid("b", (4, 4), 2, 4)))


def make_tiny_update(payload: Payload = Payload.SIGNS, **arrays: Any) -> SealedBlob:
    """One that can be checked by hand: a sends +0 and -5, b only -3 in its second chunk."""
    group = GroupCoefficients(
        counts=np.array([2, 0, 1], np.uint16),
        positions=np.array([0, 5, 3], np.uint16),
        negative=np.array([False, True, True]),
        **arrays,
    )
    coefficients = Coefficients(payload, 2, (group,))
    return seal_update(
        ORIGIN, TINY_GRID, coefficients, Transform.DCT, chunk_size=4, tokens=1, loss=0.0
    )


def make_targets(seed: int = 0, samples: int = 4, tokens: int = 16, k: int = 5) -> SealedBlob:
    """Teacher targets whose top logits hold most of the probability."""
    generator = np.random.default_rng(seed)
    order = np.argsort(generator.random((samples, tokens, VOCAB_SIZE)), axis=-1)[..., :k]
    indices = np.sort(order, axis=-1).astype(np.uint16)
    logits = generator.normal(size=(samples, tokens, k)).astype(np.float16)
    total = np.log(np.exp(logits.astype(np.float64)).sum(axis=-1)) + 0.5
    return seal_teacher_targets(
        ORIGIN, indices, logits, total.astype(np.float32), tokens=samples * tokens, loss=2.0
    )


def make_compact_targets(
    seed: int = 0, samples: int = 4, tokens: int = 16, k: int = 5
) -> SealedBlob:
    """The same targets in the compact form."""
    plain = read_teacher_targets(read_layout(make_targets(seed, samples, tokens, k).to_bytes()))
    return seal_compact_targets(
        ORIGIN,
        plain.indices,
        plain.logits,
        plain.logsumexp,
        vocab_size=VOCAB_SIZE,
        tokens=samples * tokens,
        loss=2.0,
    )


def make_parameters(seed: int = 0, rows: int = 40) -> SealedBlob:
    """Two tensors of parameters."""
    generator = np.random.default_rng(seed)
    tensors = {
        "embed": generator.normal(size=(rows, 16)).astype(np.float32),
        "norm": np.ones(16, np.float32),
    }
    return seal_dense(BlobKind.PARAMETERS, SHARED, tensors)


def make_large(size_bytes: int, seed: int = 0) -> SealedBlob:
    """A checkpoint shard of about this size, to be cut into chunks."""
    data = np.random.default_rng(seed).integers(0, 256, size_bytes, np.uint8)
    return seal_dense(BlobKind.CHECKPOINT_SHARD, SHARED, {"weights": data})


def expect(sealed: SealedBlob) -> Expectation:
    """What a reader who knows all about a blob expects."""
    header = sealed.header
    return Expectation(
        max_bytes=MAX_BYTES,
        kind=header.kind,
        run_id=header.run_id,
        epoch=header.epoch,
        round=header.round,
        batch=header.batch,
        producer=header.producer,
        tier=header.tier,
        schema_hash=header.schema_hash,
        codec=header.codec,
        tensors=header.tensors,
        tokens=header.tokens,
        payload_hash=header.payload_hash,
        vocab_size=VOCAB_SIZE,
    )
