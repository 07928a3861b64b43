"""From a run's configuration to the optimizer of one peer, with all its buffers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from psyche_p2p.config import AdamWConfig, ModelConfig, OptimizerConfig, SparseLocoConfig
from psyche_p2p.ids import Tier
from psyche_p2p.model.tiers import UNIVERSAL
from psyche_p2p.optim.adamw import LoneAdamW
from psyche_p2p.optim.choose import choose_kernels
from psyche_p2p.optim.distro import Distro
from psyche_p2p.optim.grids import ModelGrids, make_grids
from psyche_p2p.optim.inner import InnerAdamW
from psyche_p2p.optim.interface import Optimizer
from psyche_p2p.optim.sparse_loco import SparseLoco


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
        grids.own,
        masters=_copies(working),
        working_parameters=working,
        inner=_make_inner(optimizer.adamw, working),
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
        momentum=_zeros(grids, tier, _device(working)),
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
        error_feedback=_zeros(grids, tier, _device(working)),
        inner=_make_inner(config, working),
        trained_tier=tier,
        kernels=choose_kernels(_device(working)),
    )


def _make_inner(config: SparseLocoConfig | AdamWConfig, working: dict[str, Tensor]) -> InnerAdamW:
    adamw = torch.optim.AdamW(
        list(working.values()),
        lr=0.0,  # set by every round
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    return InnerAdamW(adamw, working, config.clip_grad_norm)


def _zeros(grids: ModelGrids, tier: Tier, device: torch.device) -> dict[str, Tensor]:
    return {
        tensor.name: torch.zeros(tensor.shape, device=device) for tensor in grids.at(tier).tensors
    }


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _device(tensors: Mapping[str, Tensor]) -> torch.device:
    return next(iter(tensors.values())).device
