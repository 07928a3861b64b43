"""Which file of a checkpoint holds which tensor: one `model.safetensors`, or shards and an index.

An index is only believed as far as the files bear it out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psyche_p2p.errors import ModelError
from psyche_p2p.model.json_file import read_json_object
from psyche_p2p.model.tensor_file import StoredTensor, read_header

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_MAX_INDEX_BYTES = 16 << 20
_CURE = "fetch the checkpoint again"


def shard_name(number: int, count: int) -> str:
    """The name Hugging Face gives to shard `number` (from 1) of `count`."""
    return SINGLE_FILE if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def find_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a checkpoint with its file and place; headers are read, values are not."""
    index, single = folder / INDEX_FILE, folder / SINGLE_FILE
    if index.exists():
        return _indexed_tensors(folder, index)
    if not single.exists():
        raise ModelError(
            f"{str(folder)!r} holds neither {SINGLE_FILE} nor {INDEX_FILE}",
            "give the folder of a checkpoint in Hugging Face's form with safetensors",
        )
    return read_header(single)


def _indexed_tensors(folder: Path, index: Path) -> dict[str, StoredTensor]:
    values = read_json_object(index, _MAX_INDEX_BYTES)
    places = values.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError(f"{str(index)!r} has no weight_map", _CURE)
    tensors: dict[str, StoredTensor] = {}
    for name in sorted({_shard(index, place) for place in places.values()}):
        if not (folder / name).is_file():
            raise ModelError(f"{str(index)!r} names {name!r}, which does not exist", _CURE)
        for tensor in read_header(folder / name).values():
            if places.get(tensor.name) != name:
                raise ModelError(
                    f"{str(folder / name)!r} holds tensor {tensor.name[:200]!r}, "
                    f"which {INDEX_FILE} places in {str(places.get(tensor.name))[:200]!r}",
                    _CURE,
                )
            tensors[tensor.name] = tensor
    for tensor_name, place in places.items():
        if tensor_name not in tensors:
            raise ModelError(
                f"{str(index)!r} places tensor {tensor_name[:200]!r} in {place!r}, "
                "which does not hold it",
                _CURE,
            )
    _require_total(index, values, tensors)
    return tensors


def _shard(index: Path, name: Any) -> str:
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
        raise ModelError(f"{str(index)!r} names {str(name)[:200]!r}, which is no shard", _CURE)
    return name


def _require_total(index: Path, values: dict[str, Any], tensors: dict[str, StoredTensor]) -> None:
    metadata = values.get("metadata")
    claimed = metadata.get("total_size") if isinstance(metadata, dict) else None
    total = sum(tensor.end - tensor.start for tensor in tensors.values())
    if claimed is not None and claimed != total:
        raise ModelError(
            f"{str(index)!r} claims {str(claimed)[:40]} bytes of tensors, the files hold {total}",
            _CURE,
        )
