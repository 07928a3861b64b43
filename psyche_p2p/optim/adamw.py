"""AdamW for a peer that trains alone: nothing to agree on, so nothing is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from psyche_p2p.codec import ChunkGrid, Coefficients, GroupCoefficients, Payload
from psyche_p2p.ids import Tier
from psyche_p2p.optim.inner import InnerAdamW
from psyche_p2p.optim.interface import Contribution, Tensors


class LoneAdamW:
    """See `interface.Optimizer`. The contribution is an empty one: every chunk is dead.

    Masters follow when the round is applied, so that they are what the round's block says, also
    while the next round trains.
    """

    inner_steps = 1

    def __init__(
        self,
        grid: ChunkGrid,
        *,
        masters: Tensors,
        working_parameters: Tensors,
        inner: InnerAdamW,
    ) -> None:
        self.masters = masters
        self.working_parameters = working_parameters
        self._grid = grid
        self._inner = inner
        self._finished: deque[dict[str, Tensor]] = deque()

    def begin_round(self, learning_rate: float) -> None:
        self._inner.set_learning_rate(learning_rate)

    def accumulate(self, gradients: Tensors) -> None:
        """One step. Gradients above the clipping norm are scaled in place."""
        self._inner.step(gradients)

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
