"""A checkpoint on disk: opened and checked without reading its weights, then read at any tier.

Opening checks everything that can be known without the values: hashes of all files (if they were
recorded), config, headers, names, shapes, and which tier the tensors are. Reading checks that the
values are finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import ModelError
from psyche_p2p.ids import MAX_TIER, ParamRoot, Tier
from psyche_p2p.log import get_logger
from psyche_p2p.model.checkpoint_manifest import (
    CheckpointManifest,
    read_manifest,
    verify_files,
)
from psyche_p2p.model.hf_config import CONFIG_FILE, StoredConfig, read_config
from psyche_p2p.model.param_root import ParamTree
from psyche_p2p.model.schema import Schema, model_schema
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.model.shards import find_tensors
from psyche_p2p.model.suffix_gate import SuffixGate
from psyche_p2p.model.tensor_file import StoredDtype, StoredTensor, read_tensor
from psyche_p2p.model.tiers import UNIVERSAL, matformer_prefix_dim, tier_width

_FIRST_GATE = "model.layers.0.mlp.gate_proj.weight"
_CURE = "fetch the checkpoint again, or mend its config.json"
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose structure is known to be sound. `config` is the tier-0 form."""

    folder: Path
    config: ModelConfig
    held_tier: Tier
    tensors: dict[str, StoredTensor]
    manifest: CheckpointManifest | None
    suffix_gate: SuffixGate | None = None

    @property
    def is_sliced(self) -> bool:
        return self.held_tier != UNIVERSAL

    @property
    def dtype(self) -> StoredDtype:
        """The one number format of all tensors; float32, which loses nothing, if they differ."""
        types = {tensor.type.name for tensor in self.tensors.values()}
        return types.pop() if len(types) == 1 else "float32"

    @property
    def schema(self) -> Schema:
        """The schema of the universal model this is (a slice of)."""
        types = {name: tensor.type.name for name, tensor in self.tensors.items()}
        return model_schema(self.config, types)

    def read_state(self, tier: Tier | None = None) -> dict[str, Tensor]:
        """Every parameter as float32, at the held tier or only the prefix of a smaller one."""
        wanted = self.held_tier if tier is None else tier
        self.require_tier(wanted)
        width = tier_width(self.config, wanted)
        return {name: self._read(name, width) for name in sorted(self.tensors)}

    def compute_roots(self, model: ModelConfig) -> tuple[ParamRoot, ...]:
        """The roots of what is stored as a run on this model has them, the smallest tier's first.

        The run says how many tiers there are, on which every root depends.
        """
        tree = ParamTree(model, self.held_tier)
        width = tier_width(self.config, self.held_tier)
        for name in self.tensors:  # one at a time: the model may be large
            tree.update({name: self._read(name, width)})
        tiers = range(model.max_tier, self.held_tier - 1, -1)
        return tuple(tree.root(Tier(tier)) for tier in tiers)

    def require_tier(self, tier: Tier) -> None:
        """ModelError if the model is not stored up to this tier."""
        if tier < self.held_tier:
            raise ModelError(
                f"{str(self.folder)!r} holds tier {self.held_tier}, not the larger tier {tier}",
                "use the universal checkpoint it was sliced from",
            )
        tier_width(self.config, tier)

    def _read(self, name: str, width: int) -> Tensor:
        tensor = self.tensors[name]
        dimension = matformer_prefix_dim(name)
        value = read_tensor(tensor, dimension, width).to(torch.float32)
        if not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise ModelError(
                f"tensor {name!r} in {str(tensor.path)!r} holds {count} values that are not "
                "finite numbers",
                "use an earlier checkpoint",
            )
        return value


def open_checkpoint(
    folder: Path, *, base_width: int | None = None, verify_hashes: bool = True
) -> Checkpoint:
    """The checkpoint in a folder.

    `base_width` is the run's FFN width: it tells the tier of a slice whose config.json does not.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(
            f"{str(folder)!r} is not a checkpoint: it has no {CONFIG_FILE}",
            "give a folder written by `psyche-peer checkpoint` or by transformers",
        )
    stored = read_config(folder)
    tensors = find_tensors(folder)
    config, held_tier = _infer_tier(folder, stored, tensors, base_width)
    _require_tensors(folder, config, held_tier, tensors)
    manifest = read_manifest(folder)
    if manifest is None:
        _log.debug("checkpoint without a manifest: contents not verified", folder=str(folder))
    elif verify_hashes:
        needed = {tensor.path.name for tensor in tensors.values()} | {CONFIG_FILE}
        verify_files(folder, manifest, needed)
    return Checkpoint(folder, config, held_tier, tensors, manifest, stored.suffix_gate)


def _infer_tier(
    folder: Path,
    stored: StoredConfig,
    tensors: dict[str, StoredTensor],
    base_width: int | None,
) -> tuple[ModelConfig, Tier]:
    """The tier-0 form and the held tier: by metadata, else by the ratio of the FFN's widths."""
    gate = tensors.get(_FIRST_GATE)
    if gate is None or len(gate.shape) != 2:
        raise _missing(folder, _FIRST_GATE)
    width, base = gate.shape[0], stored.model.intermediate_size
    if base_width is not None and not stored.names_base and stored.claimed_tier is None:
        base = base_width
    tier = next((t for t in range(MAX_TIER + 1) if width << t == base), None)
    if tier is None:
        raise ModelError(
            f"tensor {_FIRST_GATE!r} in {str(gate.path)!r} has {width} FFN units, "
            f"which is no tier of {base}",
            _CURE,
        )
    claimed = stored.claimed_tier
    if claimed is not None and claimed != tier:
        raise ModelError(
            f"{str(folder / CONFIG_FILE)!r} claims tier {claimed} ({base >> claimed} FFN units), "
            f"but tensor {_FIRST_GATE!r} in {str(gate.path)!r} has {width}: tier {tier}",
            _CURE,
        )
    if stored.width not in (width, base):
        raise ModelError(
            f"{str(folder / CONFIG_FILE)!r} claims intermediate_size {stored.width}, "
            f"but tensor {_FIRST_GATE!r} in {str(gate.path)!r} has {width} FFN units",
            _CURE,
        )
    changes = {"intermediate_size": base, "max_tier": max(tier, stored.model.max_tier)}
    return stored.model.model_copy(update=changes), Tier(tier)


def _require_tensors(
    folder: Path, config: ModelConfig, held_tier: Tier, tensors: dict[str, StoredTensor]
) -> None:
    expected = parameter_shapes(config, held_tier)
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise _missing(folder, name)
        tensor = tensors[name]
        if name not in expected:
            raise ModelError(
                f"tensor {name[:200]!r} in {str(tensor.path)!r} is not part of the model that "
                f"{CONFIG_FILE} describes",
                _CURE,
            )
        if tensor.shape != expected[name]:
            raise ModelError(
                f"tensor {name!r} in {str(tensor.path)!r} has shape {list(tensor.shape)} "
                f"instead of {list(expected[name])}",
                _CURE,
            )


def _missing(folder: Path, name: str) -> ModelError:
    return ModelError(f"tensor {name!r} is missing from {str(folder)!r}", _CURE)
