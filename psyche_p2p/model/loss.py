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
_POSITIONS_AT_ONCE = 512


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
    kept = (targets_n != IGNORED).sum().clamp(min=1)
    loss = hidden_nd.new_zeros((), dtype=torch.float32)
    hidden_grad = torch.empty_like(hidden_nd, dtype=torch.float32) if wanted[0] else None
    weight_grad = torch.zeros_like(weight_vd, dtype=torch.float32) if wanted[1] else None
    for start in range(0, len(hidden_nd), _POSITIONS_AT_ONCE):
        part = slice(start, start + _POSITIONS_AT_ONCE)
        logits_nv = F.linear(hidden_nd[part], weight_vd).float()
        loss += F.cross_entropy(logits_nv, targets_n[part], ignore_index=IGNORED, reduction="sum")
        if not any(wanted):
            continue
        grad_nv = _logits_gradient(logits_nv, targets_n[part], kept).to(weight_vd.dtype)
        if hidden_grad is not None:
            hidden_grad[part] = grad_nv @ weight_vd
        if weight_grad is not None:
            weight_grad += grad_nv.T @ hidden_nd[part]
    return loss / kept, (hidden_grad, weight_grad)


def _logits_gradient(logits_nv: Tensor, targets_n: Tensor, kept: Tensor) -> Tensor:
    """(softmax - one-hot) / kept, with rows of zeros for ignored targets."""
    ignored_n1 = (targets_n == IGNORED).unsqueeze(1)
    grad_nv = torch.softmax(logits_nv, dim=1)
    rows = torch.arange(len(targets_n), device=targets_n.device)
    grad_nv[rows, targets_n.clamp(min=0)] -= 1.0
    return grad_nv.masked_fill_(ignored_n1, 0.0).div_(kept)
