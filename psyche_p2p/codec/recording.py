"""Updates of real training as plain numpy arrays, for tests and benchmarks.

Nothing here goes through the codec's own streams, so that a recording can judge them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np

from psyche_p2p.codec.coefficients import Coefficients, GroupCoefficients, Payload
from psyche_p2p.codec.grid import ChunkGrid, TensorGrid

_FIELDS = ("counts", "positions", "negative")


def dump_recording(grid: ChunkGrid, updates: Sequence[Coefficients]) -> bytes:
    """A `.npz` of sign updates on one grid."""
    tensors = [
        [tensor.name, list(tensor.shape), tensor.chunk_rows, tensor.chunk_columns]
        for tensor in grid.tensors
    ]
    description = {"tensors": tensors, "top_k": [update.top_k for update in updates]}
    arrays = {"description": np.array(json.dumps(description))}
    for index, update in enumerate(updates):
        for group, chosen in enumerate(update.groups):
            for field in _FIELDS:
                arrays[f"{index}.{group}.{field}"] = getattr(chosen, field)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def parse_recording(data: bytes) -> tuple[ChunkGrid, tuple[Coefficients, ...]]:
    """The grid and the updates of a recording that we made."""
    with np.load(io.BytesIO(data)) as arrays:
        description = json.loads(str(arrays["description"]))
        grid = ChunkGrid(
            tuple(
                TensorGrid(name, tuple(shape), rows, columns)
                for name, shape, rows, columns in description["tensors"]
            )
        )
        updates = []
        for index, top_k in enumerate(description["top_k"]):
            fields = [
                [arrays[f"{index}.{g}.{f}"] for f in _FIELDS] for g in range(len(grid.groups))
            ]
            groups = tuple(GroupCoefficients(*field) for field in fields)
            updates.append(Coefficients(Payload.SIGNS, top_k, groups))
    return grid, tuple(updates)
