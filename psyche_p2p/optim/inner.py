"""Local AdamW steps on the working parameters, for the optimizers that take them."""

from __future__ import annotations

import torch

from psyche_p2p.optim.gradients import compute_clip_scale
from psyche_p2p.optim.interface import Tensors


class InnerAdamW:
    """torch's AdamW, fed with gradients that are clipped by their global norm."""

    def __init__(
        self, adamw: torch.optim.AdamW, parameters: Tensors, clip_grad_norm: float
    ) -> None:
        self._adamw = adamw
        self._parameters = parameters
        self._clip_grad_norm = clip_grad_norm

    def set_learning_rate(self, learning_rate: float) -> None:
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate

    @torch.no_grad()
    def step(self, gradients: Tensors) -> None:
        """One step. Gradients above the clipping norm are scaled in place."""
        clip = compute_clip_scale(gradients, self._clip_grad_norm)
        for name, parameter in self._parameters.items():
            parameter.grad = gradients[name] if clip == 1.0 else gradients[name].mul_(clip)
        self._adamw.step()
