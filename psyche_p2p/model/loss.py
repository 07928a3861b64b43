"""Next-token cross-entropy without ever holding the logits of a whole batch.

At a vocabulary of 32,000 the logits and their gradient outweigh everything else in a small model's
step. `linear_cross_entropy` walks over the positions in chunks and makes the gradients during the
forward pass, so that only one chunk of logits exists at a time (the idea of Liger Kernel,
arXiv 2410.10989). Sums are float32 whatever the matrices are multiplied in.

Shape suffixes: n position, d hidden, v vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
_POSITIONS_AT_ONCE = 128  # faster than 256 to 1024 at 32,000 words: the logits stay in cache


def linear_cross_entropy(hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor) -> Tensor:
    """Mean cross-entropy in nats of `hidden @ weight.T` over the targets that are not IGNORED."""
    if not torch.is_grad_enabled():
        return _run(hidden_nd, weight_vd, targets_n, (False, False))[0]
    loss: Tensor = _LinearCrossEntropy.apply(hidden_nd, weight_vd, targets_n)  # type: ignore[no-untyped-call]
    return loss


def _product_type(tensor: Tensor) -> torch.dtype:
    """What autocast would multiply this tensor in."""
    device = tensor.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return tensor.dtype


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor) -> Tensor:
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1])
        loss, grads = _run(hidden_nd, weight_vd, targets_n, wanted)
        ctx.save_for_backward(*grads)
        ctx.types = (hidden_nd.dtype, weight_vd.dtype)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_grad, weight_grad = (
            None if grad is None else (grad * grad_loss).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.types, strict=True)
        )
        return hidden_grad, weight_grad, None


def _run(
    hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    """Loss and gradients with products in autocast's type, which torch does not choose for us."""
    product_type = _product_type(weight_vd)
    with torch.autocast(hidden_nd.device.type, enabled=False):
        return _loss_and_gradients(
            hidden_nd.to(product_type), weight_vd.to(product_type), targets_n, wanted
        )


def _loss_and_gradients(
    hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    share_n = _shares(targets_n)
    loss = hidden_nd.new_zeros((), dtype=torch.float32)
    hidden_grad = torch.empty_like(hidden_nd, dtype=torch.float32) if wanted[0] else None
    weight_grad = torch.zeros_like(weight_vd, dtype=torch.float32) if wanted[1] else None
    for start in range(0, len(hidden_nd), _POSITIONS_AT_ONCE):
        part = slice(start, start + _POSITIONS_AT_ONCE)
        logs_nv = F.linear(hidden_nd[part], weight_vd).log_softmax(dim=1, dtype=torch.float32)
        targets_n1 = targets_n[part].clamp(min=0).unsqueeze(1)
        loss -= logs_nv.gather(1, targets_n1).squeeze(1) @ share_n[part]
        if not any(wanted):
            continue
        # Rows are weighted where they are narrow: among the hidden states, not the logits
        share_n1 = share_n[part].unsqueeze(1)
        grad_nv = _logits_gradient(logs_nv, targets_n1).to(weight_vd.dtype)
        if hidden_grad is not None:
            torch.mul(grad_nv @ weight_vd, share_n1, out=hidden_grad[part])
        if weight_grad is not None:
            weight_grad += grad_nv.T @ (hidden_nd[part] * share_n1).to(weight_vd.dtype)
    return loss, (hidden_grad, weight_grad)


def _shares(targets_n: Tensor) -> Tensor:
    """Each position's weight in the mean: zero where its target is ignored."""
    kept_n = (targets_n != IGNORED).to(torch.float32)
    return kept_n / kept_n.sum().clamp(min=1)


def _logits_gradient(logs_nv: Tensor, targets_n1: Tensor) -> Tensor:
    """Softmax minus one-hot, in the memory of the logarithms."""
    grad_nv = logs_nv.exp_()
    return grad_nv.scatter_add_(1, targets_n1, grad_nv.new_full(targets_n1.shape, -1.0))
