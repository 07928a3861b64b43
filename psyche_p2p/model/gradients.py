"""One batch's loss and gradients, in micro-batches, accumulated in float32.

Masters are float32, so gradients are too, whatever the products inside were computed in.
Shape suffixes: b sample, t position.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import Protocol

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


class BatchLoss(Protocol):
    """The mean loss of some samples, which are `samples` of the batch."""

    def __call__(
        self, model: Transformer, tokens_bt: Tensor, view: FfnView | None, samples: slice
    ) -> Tensor: ...


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
    batch_loss: BatchLoss | None = None,
    predicted: int | None = None,
) -> float:
    """Add the batch's mean gradient to every `parameter.grad`; returns the batch's mean loss.

    The loss is cross-entropy unless `batch_loss` is given. The mean is over predicted tokens,
    however the batch is cut into portions. If these samples are only a part of the batch,
    `predicted` is the number of its predictions; the sum over all parts is then the mean.
    """
    count, compute = len(tokens_bt), batch_loss or _cross_entropy
    predicted, total = predicted or count_predicted(tokens_bt), 0.0
    for begin in range(0, count, micro_batch or count):
        samples = slice(begin, min(begin + (micro_batch or count), count))
        with precision.autocast(tokens_bt.device):
            share = count_predicted(tokens_bt[samples]) / predicted
            loss = compute(model, tokens_bt[samples], view, samples) * share
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _cross_entropy(
    model: Transformer, tokens_bt: Tensor, view: FfnView | None, samples: slice
) -> Tensor:
    del samples
    return compute_loss(model, tokens_bt, view)
