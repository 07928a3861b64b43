"""Tiers: which part of a parameter a machine of each size holds, and how the parts line up.

Tier t uses the first `base >> t` units of every FFN (MatFormer, arXiv 2310.07707). A unit is a row
of `gate_proj` and `up_proj` and a column of `down_proj`; every other parameter is whole at every
tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier

if TYPE_CHECKING:  # the peer beside the trainer uses this without torch
    from torch import Tensor

UNIVERSAL = Tier(0)
"""The tier of a full model, and of a checkpoint that every other tier can be cut from."""

_UNIT_DIMENSIONS = {"gate_proj.weight": 0, "up_proj.weight": 0, "down_proj.weight": 1}


class UnsupportedParameter(ModelError):
    """A parameter that has no prefix: it is not one of the three FFN matrices."""


def tier_width(config: ModelConfig, tier: Tier) -> int:
    """How many FFN units tier `tier` of this model uses."""
    if not 0 <= tier <= config.max_tier:
        raise ModelError(
            f"tier {tier} is not one of this model's tiers (0 to {config.max_tier})",
            "choose a tier in that range, or raise model.max_tier in the run's configuration",
        )
    if config.bias and tier != UNIVERSAL:
        raise ModelError(
            "a model with biases has no tiers above 0", "set model.bias = false to slice it"
        )
    return config.intermediate_size >> tier


def matformer_prefix_dim(name: str) -> int | None:
    """The dimension along which a parameter has a unit per FFN unit; None if it has none."""
    for suffix, dimension in _UNIT_DIMENSIONS.items():
        if name.endswith(f".mlp.{suffix}"):
            return dimension
    return None


def require_prefix_dim(name: str) -> int:
    """The dimension of the FFN units, or UnsupportedParameter."""
    dimension = matformer_prefix_dim(name)
    if dimension is None:
        raise UnsupportedParameter(
            f"parameter {name!r} has no tiers",
            "only mlp.gate_proj, mlp.up_proj and mlp.down_proj weights do",
        )
    return dimension


def align_matformer_prefix_grad(name: str, grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A gradient of another tier in the shape this machine holds.

    A narrower gradient is filled up with zeros behind its prefix, a wider one loses its suffix, one
    that fits is returned as it is. All other dimensions have to agree.
    """
    dimension = require_prefix_dim(name)
    if len(grad.shape) != len(shape) or any(
        have != want
        for axis, (have, want) in enumerate(zip(grad.shape, shape, strict=True))
        if axis != dimension
    ):
        raise ModelError(
            f"the gradient of {name!r} has shape {list(grad.shape)}, which no tier of "
            f"{list(shape)} has",
            "it may differ only in the number of FFN units",
        )
    have, want = grad.shape[dimension], shape[dimension]
    if have >= want:
        return grad.narrow(dimension, 0, want)
    aligned = grad.new_zeros(shape)
    aligned.narrow(dimension, 0, have).copy_(grad)
    return aligned


def slice_state(state: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """The parameters of the model with only the first `width` FFN units, in memory of their own.

    A view would keep the whole tensor alive, and with it the memory that slicing is for.
    """
    sliced = {}
    for name, tensor in state.items():
        dimension = matformer_prefix_dim(name)
        part = tensor if dimension is None else tensor.narrow(dimension, 0, width)
        sliced[name] = part.detach().clone()
    return sliced


def merge_prefix(full: Mapping[str, Tensor], prefix: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The full model with everything that a slice holds taken from the slice."""
    merged = {}
    for name, tensor in full.items():
        dimension, part = matformer_prefix_dim(name), prefix[name]
        merged[name] = tensor.detach().clone()
        target = merged[name]
        if dimension is not None:
            target = target.narrow(dimension, 0, part.shape[dimension])
        target.copy_(part)
    return merged
