"""Golden blobs that an implementation in another language could check itself against.

    python -m tests.blobs.generate_vectors      # only when the protocol itself changes

Each value follows from the bytes beside it by docs/protocol.md, "Blobs", alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from psyche_p2p.blobs import (
    SealedBlob,
    compute_manifest,
    seal_compact_targets,
    seal_dense,
    seal_teacher_targets,
)
from psyche_p2p.blobs.manifest import compute_blob_hash
from psyche_p2p.codec import Payload
from psyche_p2p.wire import BlobKind, encode
from tests.blobs.builders import ORIGIN, SHARED, make_tiny_update

FILE = Path(__file__).parent / "vectors.json"


def vectors() -> dict[str, Any]:
    """Every vector, computed by this implementation."""
    return {"blobs": [_blob(*blob) for blob in _blobs()], "manifests": _manifests()}


def _blobs() -> list[tuple[str, SealedBlob]]:
    scales, values = np.array([0, 8], np.uint8), np.array([3, -4, -2], np.float32)
    targets = seal_teacher_targets(
        ORIGIN,
        np.arange(12, dtype=np.uint16).reshape(4, 1, 3),
        np.zeros((4, 1, 3), np.float16),
        np.full((4, 1), 2, np.float32),
        tokens=4,
        loss=1.5,
    )
    compact = seal_compact_targets(
        ORIGIN,
        np.array([[[0, 2, 9]], [[1, 2, 3]], [[7, 8, 9]], [[0, 1, 9]]]),
        np.array([[[0, -1, -2]], [[-0.1, 0, -30]], [[-0.5, -0.25, 0]], [[0, 0, 0]]], np.float32),
        np.array([[0.7], [1.0], [1.5], [2.302585]], np.float32),
        vocab_size=10,
        tokens=4,
        loss=1.5,
    )
    parameters = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
    return [
        ("update, signs", make_tiny_update()),
        ("update, scaled_signs", make_tiny_update(Payload.SCALED_SIGNS, scales=scales)),
        ("update, values", make_tiny_update(Payload.VALUES, values=values)),
        ("teacher_targets", targets),
        ("teacher_targets, compact", compact),
        ("parameters", seal_dense(BlobKind.PARAMETERS, SHARED, parameters)),
    ]


def _blob(name: str, sealed: SealedBlob) -> dict[str, Any]:
    return {
        "name": name,
        "bytes": sealed.to_bytes().hex(),
        "payload_hash": sealed.header.payload_hash.hex(),
        "manifest": encode(sealed.manifest).hex(),
        "blob_hash": sealed.blob_hash.hex(),
    }


def _manifests() -> list[dict[str, Any]]:
    """The hashes of blobs of zeros around the edge of a chunk."""
    sizes = [1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20]
    return [
        {"zeros": size, "blob_hash": compute_blob_hash(compute_manifest([bytes(size)])).hex()}
        for size in sizes
    ]


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n")
