"""Reading a safetensors file that nobody vouches for (https://github.com/huggingface/safetensors).

The whole header is checked before any tensor is touched: its length against the file, and every
tensor's type, shape and place, which must fill the rest of the file without gap or overlap. Reading
allocates no more than the tensor asked for, and for a slice no more than that slice and a buffer.
Nothing is ever unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from psyche_p2p.errors import ModelError
from psyche_p2p.files import storage_error
from psyche_p2p.model.json_file import parse_json_object

MAX_HEADER_BYTES = 16 << 20
_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 8
_BUFFER_BYTES = 8 << 20
_CURE = "fetch the checkpoint again"


StoredDtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True)
class StoredType:
    """A number format of safetensors that checkpoints use, and how to read it."""

    name: StoredDtype
    torch_type: torch.dtype
    raw_type: np.dtype[Any]


STORED_TYPES = {
    "F32": StoredType("float32", torch.float32, np.dtype("<f4")),
    "F16": StoredType("float16", torch.float16, np.dtype("<f2")),
    "BF16": StoredType("bfloat16", torch.bfloat16, np.dtype("<i2")),
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What a header says about one tensor; offsets are from the start of the file."""

    name: str
    path: Path
    type: StoredType
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name, in the order of their places."""
    try:
        with path.open("rb") as file:
            file_bytes = path.stat().st_size
            header_bytes = int.from_bytes(_read_exactly(file, _LENGTH_BYTES, path), "little")
            if header_bytes > min(MAX_HEADER_BYTES, file_bytes - _LENGTH_BYTES):
                raise _damaged(
                    path, f"its header claims {header_bytes} bytes of a file of {file_bytes}"
                )
            data = _read_exactly(file, header_bytes, path)
    except OSError as error:
        raise storage_error("cannot read", path, error) from error
    entries = parse_json_object(data, str(path))
    entries.pop("__metadata__", None)
    data_start = _LENGTH_BYTES + header_bytes
    tensors = [_parse_entry(path, name, entry, data_start) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    _require_packed(path, tensors, data_start, file_bytes)
    return {tensor.name: tensor for tensor in tensors}


def read_tensor(tensor: StoredTensor, dimension: int | None = None, width: int = 0) -> Tensor:
    """A tensor, or only the first `width` entries along a dimension, in memory of its own."""
    shape = list(tensor.shape)
    if dimension is not None:
        shape[dimension] = width
    try:
        with tensor.path.open("rb") as file:
            file.seek(tensor.start)
            if dimension == 1 and width < tensor.shape[1]:
                raw = _read_columns(file, tensor, width)
            else:
                raw = _read_values(file, tensor, math.prod(shape))
    except OSError as error:
        raise storage_error("cannot read", tensor.path, error) from error
    return torch.from_numpy(raw).view(tensor.type.torch_type).view(shape)


def _read_values(file: BinaryIO, tensor: StoredTensor, count: int) -> npt.NDArray[Any]:
    values = np.empty(count, dtype=tensor.type.raw_type)
    if file.readinto(values.data.cast("B")) != values.nbytes:  # type: ignore[attr-defined]
        raise _damaged(tensor.path, f"tensor {tensor.name!r} ends too early")
    return values


def _read_columns(file: BinaryIO, tensor: StoredTensor, width: int) -> npt.NDArray[Any]:
    """The first columns of a matrix, through a buffer of some of its rows."""
    rows, columns = tensor.shape
    kept = np.empty((rows, width), dtype=tensor.type.raw_type)
    step = max(1, _BUFFER_BYTES // (columns * tensor.type.raw_type.itemsize))
    for first in range(0, rows, step):
        count = min(step, rows - first)
        block = _read_values(file, tensor, count * columns).reshape(count, columns)
        kept[first : first + count] = block[:, :width]
    return kept.reshape(-1)


def _parse_entry(path: Path, name: str, entry: Any, data_start: int) -> StoredTensor:
    if not isinstance(entry, Mapping) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"the entry of tensor {name[:200]!r} is not one of safetensors")
    stored_type = STORED_TYPES.get(str(entry["dtype"]))
    if stored_type is None:
        known = ", ".join(STORED_TYPES)
        raise _damaged(
            path, f"tensor {name[:200]!r} has type {str(entry['dtype'])[:20]!r}; known: {known}"
        )
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape, _MAX_DIMENSIONS) or not _are_sizes(offsets, 2) or len(offsets) != 2:
        raise _damaged(path, f"tensor {name[:200]!r} has a shape or place that is not one")
    start, end = offsets
    if end - start != math.prod(shape) * stored_type.raw_type.itemsize:
        raise _damaged(
            path, f"tensor {name[:200]!r} of shape {shape} cannot lie in bytes {start} to {end}"
        )
    return StoredTensor(name, path, stored_type, tuple(shape), data_start + start, data_start + end)


def _are_sizes(values: Any, most: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= most
        and all(type(value) is int and 0 <= value < 1 << 48 for value in values)
    )


def _require_packed(
    path: Path, tensors: list[StoredTensor], data_start: int, file_bytes: int
) -> None:
    """Every byte after the header belongs to exactly one tensor."""
    position = data_start
    for tensor in tensors:
        if tensor.start != position:
            problem = "overlaps another" if tensor.start < position else "leaves a gap before it"
            raise _damaged(path, f"tensor {tensor.name[:200]!r} {problem}")
        position = tensor.end
        if position > file_bytes:
            raise _damaged(
                path,
                f"tensor {tensor.name[:200]!r} should end at byte {position}, "
                f"the file ends at {file_bytes}",
            )
    if position != file_bytes:
        raise _damaged(path, f"{file_bytes - position} bytes after the last tensor belong to none")


def _read_exactly(file: BinaryIO, count: int, path: Path) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise _damaged(path, "it ends inside its header")
    return data


def _damaged(path: Path, problem: str) -> ModelError:
    return ModelError(f"{str(path)!r} is not an acceptable safetensors file: {problem}", _CURE)
