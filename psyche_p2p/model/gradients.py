"""One batch's loss and gradients, in micro-batches, accumulated in float32.

Masters are float32, so gradients are too, whatever the products inside were computed in.
Shape suffixes: b sample, t position.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import Enum

import torch
from torch import Tensor

from psyche_p2p.model.feed_forward import FfnView
from psyche_p2p.model.loss import linear_cross_entropy
from psyche_p2p.model.targets import count_predicted, split_tokens
from psyche_p2p.model.transformer import Transformer

# Measured on a CPU with bf16 matrix units: 1.65 times faster at 8M to 25M parameters, no gain at 1M
_BF16_PAYS_FROM_PARAMETERS = 4_000_000


class Precision(Enum):
    """What matrices are multiplied in; parameters and sums stay float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self is Precision.FLOAT32:
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def best_precision(model: Transformer) -> Precision:
    """bfloat16 for models large enough to gain from it."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return Precision.BFLOAT16 if count >= _BF16_PAYS_FROM_PARAMETERS else Precision.FLOAT32


def compute_loss(model: Transformer, tokens_bt: Tensor, view: FfnView | None = None) -> Tensor:
    """Mean cross-entropy of predicting each token of a sample from those before it."""
    inputs_bt, targets_bt = split_tokens(tokens_bt)
    hidden_btd = model.hidden(inputs_bt, view)
    return linear_cross_entropy(hidden_btd.flatten(0, 1), model.output_weight, targets_bt.flatten())


def accumulate_gradients(
    model: Transformer,
    tokens_bt: Tensor,
    view: FfnView | None = None,
    *,
    micro_batch: int | None = None,
    precision: Precision = Precision.FLOAT32,
) -> float:
    """Add the batch's mean gradient to every `parameter.grad`; returns the batch's mean loss."""
    predicted = count_predicted(tokens_bt)
    total = 0.0
    for part_bt in torch.split(tokens_bt, micro_batch or len(tokens_bt)):
        with precision.autocast(tokens_bt.device):
            loss = compute_loss(model, part_bt, view) * (count_predicted(part_bt) / predicted)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total
