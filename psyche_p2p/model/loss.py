"""Losses of next-token predictions without ever holding the logits of a whole batch.

At a vocabulary of 32,000 the logits and their gradient outweigh everything else in a small model's
step. `linear_loss` walks over the positions in chunks and makes the gradients during the forward
pass, so that only one chunk of logits exists at a time (the idea of Liger Kernel,
arXiv 2410.10989). Sums are float32 whatever the matrices are multiplied in.

Shape suffixes: n position, d hidden, v vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
_POSITIONS_AT_ONCE = 128  # faster than 256 to 1024 at 32,000 words: the logits stay in cache


class LogitsLoss(Protocol):
    """What `linear_loss` asks of a loss: the weighted sum of a loss at every position."""

    shares_n: Tensor
    """Every position's weight in the sum."""

    def run(
        self, logits_nv: Tensor, part: slice, wants_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The losses of these positions, not yet weighted, and their gradients in the logits."""


def linear_cross_entropy(hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor) -> Tensor:
    """Mean cross-entropy in nats of `hidden @ weight.T` over the targets that are not IGNORED."""
    return linear_loss(hidden_nd, weight_vd, _CrossEntropy(targets_n))


def linear_loss(hidden_nd: Tensor, weight_vd: Tensor, loss: LogitsLoss) -> Tensor:
    """The loss of the logits `hidden @ weight.T`, which are never all there at once."""
    if not torch.is_grad_enabled():
        return _run(hidden_nd, weight_vd, loss, (False, False))[0]
    value: Tensor = _LinearLoss.apply(hidden_nd, weight_vd, loss)  # type: ignore[no-untyped-call]
    return value


def mean_shares(targets_n: Tensor) -> Tensor:
    """Each position's weight in the mean: zero where its target is ignored."""
    kept_n = (targets_n != IGNORED).to(torch.float32)
    return kept_n / kept_n.sum().clamp(min=1)


def sum_type(tensor: Tensor) -> torch.dtype:
    """What sums of this tensor's numbers are taken in."""
    return torch.promote_types(tensor.dtype, torch.float32)


class _CrossEntropy:
    def __init__(self, targets_n: Tensor) -> None:
        self.shares_n = mean_shares(targets_n)
        self._targets_n1 = targets_n.clamp(min=0).unsqueeze(1)

    def run(
        self, logits_nv: Tensor, part: slice, wants_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        logs_nv = logits_nv.log_softmax(dim=1, dtype=sum_type(logits_nv))
        targets_n1 = self._targets_n1[part]
        losses_n = -logs_nv.gather(1, targets_n1).squeeze(1)
        return losses_n, _logits_gradient(logs_nv, targets_n1) if wants_gradient else None


def _product_type(tensor: Tensor) -> torch.dtype:
    """What autocast would multiply this tensor in."""
    device = tensor.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return tensor.dtype


class _LinearLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_nd: Tensor, weight_vd: Tensor, loss: LogitsLoss) -> Tensor:
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1])
        value, grads = _run(hidden_nd, weight_vd, loss, wanted)
        ctx.save_for_backward(*grads)
        ctx.types = (hidden_nd.dtype, weight_vd.dtype)
        return value

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_grad, weight_grad = (
            None if grad is None else (grad * grad_loss).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.types, strict=True)
        )
        return hidden_grad, weight_grad, None


def _run(
    hidden_nd: Tensor, weight_vd: Tensor, loss: LogitsLoss, wanted: tuple[bool, bool]
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    """Loss and gradients with products in autocast's type, which torch does not choose for us."""
    product_type = _product_type(weight_vd)
    with torch.autocast(hidden_nd.device.type, enabled=False):
        return _loss_and_gradients(
            hidden_nd.to(product_type), weight_vd.to(product_type), loss, wanted
        )


def _loss_and_gradients(
    hidden_nd: Tensor, weight_vd: Tensor, loss: LogitsLoss, wanted: tuple[bool, bool]
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    summed = sum_type(hidden_nd)
    total = hidden_nd.new_zeros((), dtype=summed)
    hidden_grad = torch.empty_like(hidden_nd, dtype=summed) if wanted[0] else None
    weight_grad = torch.zeros_like(weight_vd, dtype=summed) if wanted[1] else None
    for start in range(0, len(hidden_nd), _POSITIONS_AT_ONCE):
        part = slice(start, start + _POSITIONS_AT_ONCE)
        share_n = loss.shares_n[part].to(summed)
        losses_n, grad_nv = loss.run(F.linear(hidden_nd[part], weight_vd), part, any(wanted))
        total += losses_n @ share_n
        if grad_nv is None:
            continue
        # Rows are weighted where they are narrow: among the hidden states, not the logits
        share_n1, grad_nv = share_n.unsqueeze(1), grad_nv.to(weight_vd.dtype)
        if hidden_grad is not None:
            torch.mul(grad_nv @ weight_vd, share_n1, out=hidden_grad[part])
        if weight_grad is not None:
            weight_grad += grad_nv.T @ (hidden_nd[part] * share_n1).to(weight_vd.dtype)
    return total, (hidden_grad, weight_grad)


def _logits_gradient(logs_nv: Tensor, targets_n1: Tensor) -> Tensor:
    """Softmax minus one-hot, in the memory of the logarithms."""
    grad_nv = logs_nv.exp_()
    return grad_nv.scatter_add_(1, targets_n1, grad_nv.new_full(targets_n1.shape, -1.0))
