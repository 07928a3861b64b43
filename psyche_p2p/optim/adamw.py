"""AdamW for a peer that trains alone: nothing to agree on, so nothing is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from psyche_p2p.codec import ChunkGrid, Coefficients, GroupCoefficients, Payload
from psyche_p2p.config import AdamWConfig
from psyche_p2p.ids import Tier
from psyche_p2p.optim.gradients import compute_clip_scale
from psyche_p2p.optim.interface import Contribution, Tensors


class LoneAdamW:
    """See `interface.Optimizer`. The contribution is an empty one: every chunk is dead.

    Masters follow when the round is applied, so that they are what the round's block says, also
    while the next round trains.
    """

    inner_steps = 1

    def __init__(
        self,
        config: AdamWConfig,
        grid: ChunkGrid,
        *,
        masters: Tensors,
        working_parameters: Tensors,
        inner: torch.optim.AdamW,
    ) -> None:
        self.masters = masters
        self.working_parameters = working_parameters
        self._config = config
        self._grid = grid
        self._inner = inner
        self._finished: deque[dict[str, Tensor]] = deque()

    def begin_round(self, learning_rate: float) -> None:
        for parameter_group in self._inner.param_groups:
            parameter_group["lr"] = learning_rate

    @torch.no_grad()
    def accumulate(self, gradients: Tensors) -> None:
        """One step. Gradients above the clipping norm are scaled in place."""
        clip = compute_clip_scale(gradients, self._config.clip_grad_norm)
        for name, working in self.working_parameters.items():
            working.grad = gradients[name] if clip == 1.0 else gradients[name].mul_(clip)
        self._inner.step()

    def contribution(self) -> Contribution:
        self._finished.append(
            {name: working.detach().clone() for name, working in self.working_parameters.items()}
        )
        nothing = np.zeros(0, np.uint16)
        groups = tuple(
            GroupCoefficients(np.zeros(group.chunks, np.uint16), nothing, np.zeros(0, np.bool_))
            for group in self._grid.groups
        )
        return Contribution(Tier(0), Coefficients(Payload.SIGNS, 1, groups))

    @torch.no_grad()
    def apply(
        self,
        contributions: Sequence[Contribution],
        learning_rate_bits: int,  # noqa: ARG002 - part of the interface
    ) -> None:
        if contributions and self._finished:
            finished = self._finished.popleft()
            for name, master in self.masters.items():
                master.copy_(finished[name])
