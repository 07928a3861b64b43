"""`inspect-blob --against`: do a blob's tensors fit the model of a checkpoint?"""

from __future__ import annotations

from pathlib import Path

from psyche_p2p.cli.blob_report import Report
from psyche_p2p.config import ModelConfig
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.model.tiers import matformer_prefix_dim, tier_width
from psyche_p2p.wire import BlobHeader, BlobKind

FITS = "fits"


def describe_fit(header: BlobHeader, folder: Path) -> Report:
    """Every tensor of a blob against the checkpoint's model at the blob's tier."""
    checkpoint = open_checkpoint(folder, verify_hashes=False)
    config = checkpoint.config
    expected = shapes_at_tier(config, header.tier)
    tensors = [
        {"name": entry.name, "fits": _fit(entry.shape, expected.get(entry.name))}
        for entry in header.tensors
    ]
    lacking = sorted(set(expected) - {entry.name for entry in header.tensors})
    same_schema = header.schema_hash == schema_hash(model_schema(config))
    is_partial = header.kind is BlobKind.CHECKPOINT_SHARD
    return {
        "checkpoint": str(folder),
        "checkpoint_tier": checkpoint.held_tier,
        "same_schema": same_schema,
        "fits": all(tensor["fits"] == FITS for tensor in tensors)
        and same_schema
        and (is_partial or not lacking),
        "tensors": tensors,
        "not_in_blob": lacking,
    }


def shapes_at_tier(config: ModelConfig, tier: Tier) -> dict[str, tuple[int, ...]]:
    """What a peer of this tier holds of a model."""
    width = tier_width(config, tier)
    shapes = {}
    for name, shape in parameter_shapes(config).items():
        sizes, axis = list(shape), matformer_prefix_dim(name)
        if axis is not None:
            sizes[axis] = width
        shapes[name] = tuple(sizes)
    return shapes


def _fit(shape: tuple[int, ...], expected: tuple[int, ...] | None) -> str:
    if expected is None:
        return "not in the model"
    if shape != expected:
        return f"{_show(shape)}, the model has {_show(expected)} at this tier"
    return FITS


def _show(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
