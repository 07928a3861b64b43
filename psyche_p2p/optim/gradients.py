"""What every optimizer does to gradients first: look at their norm."""

from __future__ import annotations

import math

import torch

from psyche_p2p.errors import ModelError
from psyche_p2p.optim.interface import Tensors


def compute_clip_scale(gradients: Tensors, max_norm: float) -> float:
    """What to multiply gradients by so that their global norm is at most `max_norm` (0: any).

    A norm that is not finite is an error: one such step would silence its chunks for good.
    """
    norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients.values()])
    norm = float(torch.linalg.vector_norm(norms))
    if not math.isfinite(norm):
        raise ModelError(f"the gradient's norm is {norm}", "lower the learning rate")
    return min(1.0, max_norm / norm) if max_norm > 0 and norm > 0 else 1.0
