"""Golden vectors: updates and their sections, worked out bit by bit without this package.

A coefficient is written as its sign and its position, `-17`; chunks are in the grid's order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psyche_p2p.codec import (
    ChunkGrid,
    Coefficients,
    GroupCoefficients,
    Payload,
    TensorGrid,
    decode_coefficients,
    encode_coefficients,
)
from tests.codec.builders import assert_same

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    grid = ChunkGrid(
        tuple(
            TensorGrid(name, tuple(shape), rows, columns)
            for name, shape, rows, columns in vector["tensors"]
        )
    )
    payload, top_k = Payload(vector["payload"]), vector["top_k"]
    update = Coefficients(payload, top_k, tuple(_parse_group(group) for group in vector["groups"]))
    sections = {name: bytes.fromhex(data) for name, data in vector["sections"].items()}
    assert encode_coefficients(grid, update) == sections
    assert_same(decode_coefficients(grid, payload, top_k, sections), update)


def _parse_group(group: dict[str, Any]) -> GroupCoefficients:
    chunks = group["chunks"]
    flat = [text for chunk in chunks for text in chunk]
    return GroupCoefficients(
        np.array([len(chunk) for chunk in chunks], np.uint16),
        np.array([int(text[1:]) for text in flat], np.uint16),
        np.array([text[0] == "-" for text in flat], np.bool_),
        np.array(group["scales"], np.uint8) if "scales" in group else None,
    )
