"""Whole tensors as blobs: teacher targets, parameters, checkpoint shards.

Every tensor is one section of its own name: little-endian values, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.kinds import Origin, draft_header
from psyche_p2p.blobs.layout import BlobView, SealedBlob, seal_blob
from psyche_p2p.wire import BlobHeader, BlobKind, TensorEntry

Tensor = NDArray[np.generic]

_STEP_ELEMENTS = 1 << 18
_MAX_AXES = 8
_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
}


def seal_dense(
    kind: BlobKind,
    origin: Origin,
    tensors: Mapping[str, Tensor],
    *,
    tokens: int = 0,
    loss: float = 0.0,
) -> SealedBlob:
    """A blob of whole tensors, in the order of their names; nothing is copied."""
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    entries = tuple(
        TensorEntry(name, array.shape, _require_dtype(name, array), 0, 0)
        for name, array in ordered.items()
    )
    header = draft_header(kind, origin, entries, tokens=tokens, loss=loss)
    sections = [(name, array.reshape(-1).view(np.uint8).data) for name, array in ordered.items()]
    return seal_blob(header, sections)


def read_dense(view: BlobView) -> dict[str, Tensor]:
    """The tensors of a blob from anywhere, without copying; a BlobError if they do not fit."""
    for problem in check_dense_layout(view.header):
        raise BlobError(problem)
    return {
        entry.name: np.frombuffer(data, _DTYPES[entry.dtype]).reshape(entry.shape)
        for entry, data in zip(view.header.tensors, view.sections(), strict=True)
    }


def check_dense_layout(header: BlobHeader) -> Iterator[str]:
    """What is wrong with the tensors and sections, from the header alone."""
    names = [entry.name for entry in header.tensors]
    if names != sorted(names) or names != [section.name for section in header.sections]:
        yield "the sections are not the tensors, sorted by name"
        return
    for entry, section in zip(header.tensors, header.sections, strict=True):
        if entry.dtype not in _DTYPES:
            yield f"tensor {entry.name} has unknown dtype {entry.dtype!r}"
            continue
        if len(entry.shape) > _MAX_AXES:
            yield f"tensor {entry.name} has {len(entry.shape)} axes, {_MAX_AXES} at most"
            continue
        needed = math.prod(entry.shape) * _DTYPES[entry.dtype].itemsize
        if section.size_bytes != needed or not needed:
            yield (
                f"tensor {entry.name} of {_show_shape(entry.shape)} {entry.dtype} needs {needed} "
                f"bytes, its section has {section.size_bytes}"
            )
        if entry.chunk_rows or entry.chunk_columns:
            yield f"tensor {entry.name} has a chunk grid, whole tensors have none"


def check_finite(name: str, array: Tensor) -> Iterator[str]:
    """Say so if a tensor holds a NaN or an infinity; looks at a little at a time."""
    if array.dtype.kind != "f":
        return
    flat = array.reshape(-1)
    for begin in range(0, len(flat), _STEP_ELEMENTS):
        if not np.isfinite(flat[begin : begin + _STEP_ELEMENTS]).all():
            yield f"tensor {name} holds a value that is not finite"
            return


def _require_dtype(name: str, array: Tensor) -> str:
    for dtype_name, dtype in _DTYPES.items():
        if array.dtype == dtype:
            return dtype_name
    raise ValueError(f"tensor {name}: {array.dtype} is none of {', '.join(_DTYPES)}")


def _show_shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
