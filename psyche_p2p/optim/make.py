"""From a run's configuration to the optimizer of one peer, with all its buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from psyche_p2p.codec import TensorSpec
from psyche_p2p.config import AdamWConfig, ModelConfig, OptimizerConfig, SparseLocoConfig
from psyche_p2p.ids import Tier
from psyche_p2p.model.tiers import UNIVERSAL, matformer_prefix_dim
from psyche_p2p.model.transformer import parameter_shapes
from psyche_p2p.optim.adamw import LoneAdamW
from psyche_p2p.optim.chunks import empty_chunks
from psyche_p2p.optim.distro import Distro
from psyche_p2p.optim.interface import Optimizer
from psyche_p2p.optim.kernels import choose_kernels
from psyche_p2p.optim.sparse_loco import SparseLoco
from psyche_p2p.optim.votes import ModelGrids


def tensor_specs(model: ModelConfig) -> tuple[TensorSpec, ...]:
    """The tensors of a model at tier 0, and along which axis tiers shorten them."""
    return tuple(
        TensorSpec(name, shape, matformer_prefix_dim(name))
        for name, shape in parameter_shapes(model).items()
    )


def make_grids(model: ModelConfig, optimizer: OptimizerConfig, held_tier: Tier) -> ModelGrids:
    """The chunk grids of a run, seen from a peer that holds this tier."""
    sparse_loco = optimizer.kind == "sparse_loco"
    chunk_size = (optimizer.sparse_loco if sparse_loco else optimizer.distro).chunk_size
    return ModelGrids(
        tensor_specs(model), chunk_size=chunk_size, max_tier=model.max_tier, tier=held_tier
    )


def make_optimizer(
    model: ModelConfig,
    optimizer: OptimizerConfig,
    parameters: Mapping[str, Tensor],
    *,
    held_tier: Tier = UNIVERSAL,
    trained_tier: Tier | None = None,
) -> Optimizer:
    """An optimizer whose working parameters are these tensors, which a model reads.

    Masters begin as equal to them. They are the same tensors where nothing ever differs (distro
    without lookahead), and copies otherwise. `trained_tier` is the tier this peer trains at, if it
    is narrower than what the peer holds.
    """
    working = {name: parameters[name] for name in sorted(parameters)}
    tier = held_tier if trained_tier is None else trained_tier
    grids = make_grids(model, optimizer, held_tier)
    if optimizer.kind == "distro":
        return _make_distro(optimizer, grids, working, tier)
    if optimizer.kind == "sparse_loco":
        return _make_sparse_loco(optimizer.sparse_loco, grids, working, tier)
    return LoneAdamW(
        optimizer.adamw,
        grids.own,
        masters=_copies(working),
        working_parameters=working,
        inner=_make_adamw(optimizer.adamw, working, learning_rate=0.0),
    )


def _make_distro(
    optimizer: OptimizerConfig, grids: ModelGrids, working: dict[str, Tensor], tier: Tier
) -> Distro:
    detached = {name: tensor.detach() for name, tensor in working.items()}
    return Distro(
        optimizer.distro,
        grids,
        masters=_copies(working) if optimizer.distro.lookahead else detached,
        working_parameters=working,
        momentum=_chunk_buffers(grids, tier, _device(working)),
        trained_tier=tier,
        kernels=choose_kernels(_device(working)),
    )


def _make_sparse_loco(
    config: SparseLocoConfig, grids: ModelGrids, working: dict[str, Tensor], tier: Tier
) -> SparseLoco:
    return SparseLoco(
        config,
        grids,
        masters=_copies(working),
        working_parameters=working,
        round_start=_copies(working),
        error_feedback=_chunk_buffers(grids, tier, _device(working)),
        inner=_make_adamw(config, working, learning_rate=0.0),
        trained_tier=tier,
        kernels=choose_kernels(_device(working)),
    )


def _make_adamw(
    config: SparseLocoConfig | AdamWConfig, working: dict[str, Tensor], learning_rate: float
) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        list(working.values()),
        lr=learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
    )


def _chunk_buffers(grids: ModelGrids, tier: Tier, device: torch.device) -> Sequence[Tensor]:
    return [empty_chunks(group, device) for group in grids.at(tier).groups]


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _device(tensors: Mapping[str, Tensor]) -> torch.device:
    return next(iter(tensors.values())).device
