"""Held-out loss and perplexity of a model at every tier it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.gradients import Precision, compute_loss
from psyche_p2p.model.targets import count_predicted
from psyche_p2p.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class TierLoss:
    """Mean loss of a tier, in nats per token, over `token_count` predicted tokens."""

    tier: Tier
    loss: float
    token_count: int

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss) if self.loss < 700 else math.inf


def held_tiers(model: Transformer) -> list[Tier]:
    """The tiers a model can run: its own and all smaller ones."""
    return [Tier(tier) for tier in range(model.held_tier, model.config.max_tier + 1)]


def evaluate(
    model: Transformer,
    batches: Iterable[Tensor],
    precision: Precision = Precision.FLOAT32,
    on_batch: Callable[[], object] = lambda: None,
) -> list[TierLoss]:
    """The loss at every tier over batches of samples [b, t + 1], each read once."""
    tiers = held_tiers(model)
    sums, count = dict.fromkeys(tiers, 0.0), 0
    with torch.no_grad():
        for tokens_bt in batches:
            predicted = count_predicted(tokens_bt)
            for tier in tiers:
                with precision.autocast(tokens_bt.device):
                    loss = compute_loss(model, tokens_bt, model.view_at(tier))
                sums[tier] += loss.item() * predicted
            count += predicted
            on_batch()
    if count == 0:
        raise ModelError("there is nothing to evaluate on", "hold out more of the data")
    return [TierLoss(tier, sums[tier] / count, count) for tier in tiers]
