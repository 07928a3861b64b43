"""Writing a checkpoint: a Hugging Face folder that appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import StorageError
from psyche_p2p.files import write_atomically
from psyche_p2p.ids import ParamRoot, Tier
from psyche_p2p.model.atomic_folder import new_folder
from psyche_p2p.model.checkpoint_manifest import (
    MANIFEST_FILE,
    CheckpointManifest,
    digest_file,
)
from psyche_p2p.model.hf_config import CONFIG_FILE, to_hugging_face, without_own_keys
from psyche_p2p.model.param_root import ParamTree
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.model.shards import INDEX_FILE, shard_name
from psyche_p2p.model.suffix_gate import SuffixGate
from psyche_p2p.model.tensor_file import STORED_TYPES, StoredDtype
from psyche_p2p.model.tiers import UNIVERSAL
from psyche_p2p.model.transformer import empty_model, require_state

_TORCH_TYPES = {stored.name: stored.torch_type for stored in STORED_TYPES.values()}
_GENERATION_FILE = "generation_config.json"
_COPIED_FILES = (
    _GENERATION_FILE,
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a checkpoint is written.

    `companions` is a checkpoint whose tokenizer is taken along. `plain` leaves out everything of
    our own: what remains is a model that knows of no tiers. `suffix_gate` is that of the round the
    parameters belong to.
    """

    dtype: StoredDtype = "float32"
    max_shard_bytes: int = 4 << 30
    replace: bool = False
    companions: Path | None = None
    suffix_roots: tuple[bytes, ...] = ()
    plain: bool = False
    suffix_gate: SuffixGate | None = None


_DEFAULTS = WriteOptions()


def write_checkpoint(
    folder: Path,
    config: ModelConfig,
    state: Mapping[str, Tensor],
    held_tier: Tier = UNIVERSAL,
    options: WriteOptions = _DEFAULTS,
) -> CheckpointManifest:
    """Write the parameters of a model that holds `held_tier`; `config` is its tier-0 form."""
    require_state(empty_model(config, held_tier), state)
    if options.replace and folder.exists() and not (folder / CONFIG_FILE).is_file():
        raise StorageError(f"{str(folder)!r} is not a checkpoint", "it will not be replaced")
    stored = {
        name: tensor.detach().to("cpu", _TORCH_TYPES[options.dtype]).contiguous()
        for name, tensor in sorted(state.items())
    }
    with new_folder(folder, replace=options.replace) as partial:
        values = to_hugging_face(config, held_tier, options.dtype, options.suffix_gate)
        _write_json(partial / CONFIG_FILE, without_own_keys(values) if options.plain else values)
        _write_shards(partial, stored, options.max_shard_bytes)
        _copy_companions(partial, options.companions)
        manifest = CheckpointManifest(
            schema_hash(model_schema(config, dict.fromkeys(stored, options.dtype))),
            _stored_root(config, stored, held_tier),
            options.suffix_roots,
            {path.name: digest_file(path) for path in partial.iterdir()},
        )
        if not options.plain:
            write_atomically(partial / MANIFEST_FILE, manifest.to_json())
    return manifest


def _stored_root(config: ModelConfig, stored: Mapping[str, Tensor], held_tier: Tier) -> ParamRoot:
    """The root of what a reader will have: float32 again, one tensor at a time."""
    tree = ParamTree(config, held_tier)
    for name, tensor in stored.items():
        tree.update({name: tensor.to(torch.float32)})
    return tree.root()


def _write_shards(folder: Path, stored: Mapping[str, Tensor], max_shard_bytes: int) -> None:
    shards = _split(stored, max_shard_bytes)
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = shard_name(number, len(shards))
        try:
            save_file(shard, folder / name, metadata={"format": "pt"})
            (folder / name).chmod(0o644)  # safetensors makes it readable by its owner alone
        except SafetensorError as error:
            cure = "free some space on that disk"
            raise StorageError(f"cannot write {str(folder / name)!r}: {error}", cure) from error
        places.update(dict.fromkeys(shard, name))
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in stored.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        _write_json(folder / INDEX_FILE, index)


def _split(stored: Mapping[str, Tensor], max_shard_bytes: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in stored.items():
        if shards[-1] and used + tensor.nbytes > max_shard_bytes:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    return shards


def _copy_companions(folder: Path, source: Path | None) -> None:
    for name in _COPIED_FILES:
        if source is not None and (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if not (folder / _GENERATION_FILE).exists():
        _write_json(folder / _GENERATION_FILE, {"_from_model_config": True})


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")
