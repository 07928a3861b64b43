"""SparseLoCo (arXiv 2508.15706): local AdamW steps, then a sparse one-bit pseudo-gradient.

A round's pseudo-gradient is how far the local steps moved. Its largest entries in every chunk are
sent as signs with one magnitude a chunk; what was not sent, and the rounding of the magnitude, stay
in the error feedback. Magnitudes are integers, so that peers' sums are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from psyche_p2p.codec import (
    SCALE_UNIT,
    ChunkGroup,
    Coefficients,
    GroupCoefficients,
    Payload,
    quantize_scales,
    scale_integers,
)
from psyche_p2p.config import SparseLocoConfig
from psyche_p2p.ids import Tier
from psyche_p2p.optim.chunks import matrix_index, narrow_to
from psyche_p2p.optim.exact import apply_scaled_signs
from psyche_p2p.optim.grids import ModelGrids
from psyche_p2p.optim.inner import InnerAdamW
from psyche_p2p.optim.interface import Contribution, Tensors
from psyche_p2p.optim.kernels import Kernels, Taken


class SparseLoco:
    """See `interface.Optimizer`. Error feedback has the parameters' shapes.

    The learning rate of a round is that of its inner steps; it is in the pseudo-gradients already,
    so the outer step has none, and `apply` does not use the bits it is given.
    """

    def __init__(
        self,
        config: SparseLocoConfig,
        grids: ModelGrids,
        *,
        masters: Tensors,
        working_parameters: Tensors,
        round_start: Tensors,
        error_feedback: Tensors,
        inner: InnerAdamW,
        trained_tier: Tier,
        kernels: Kernels,
    ) -> None:
        self.inner_steps = config.inner_steps
        self.masters = masters
        self.working_parameters = working_parameters
        self.error_feedback = error_feedback
        self._config = config
        self._grids = grids
        self._round_start = round_start
        self._inner = inner
        self._trained_tier = trained_tier
        self._kernels = kernels

    @torch.no_grad()
    def begin_round(self, learning_rate: float) -> None:
        self._inner.set_learning_rate(learning_rate)
        for name, working in self.working_parameters.items():
            working.copy_(self.masters[name])
            self._round_start[name].copy_(working)

    def accumulate(self, gradients: Tensors) -> None:
        """One inner step. Gradients above the clipping norm are scaled in place."""
        self._inner.step(gradients)

    @torch.no_grad()
    def contribution(self) -> Contribution:
        for name, feedback in self.error_feedback.items():
            before = narrow_to(self._round_start[name], tuple(feedback.shape))
            after = narrow_to(self.working_parameters[name], tuple(feedback.shape))
            feedback.mul_(self._config.error_feedback).add_(before - after)
        grid = self._grids.at(self._trained_tier)
        groups = tuple(self._take_largest(group) for group in grid.groups)
        return Contribution(
            self._trained_tier,
            Coefficients(Payload.SCALED_SIGNS, self._config.top_k, groups),
        )

    def apply(
        self,
        contributions: Sequence[Contribution],
        learning_rate_bits: int,  # noqa: ARG002 - part of the interface
    ) -> None:
        apply_scaled_signs(self.masters, self._grids, contributions)

    def _take_largest(self, group: ChunkGroup) -> GroupCoefficients:
        """Take out the largest, and put back what one magnitude for all of them gets wrong."""
        taken = self._kernels.take_largest(self.error_feedback, group, self._config.top_k)
        negative = taken.values < 0
        scales = quantize_scales(_mean_magnitudes(taken))
        chosen = GroupCoefficients(taken.counts, taken.positions, negative, scales)
        magnitudes = scale_integers(scales).astype(np.float32) * np.float32(SCALE_UNIT)
        sent = np.where(negative, -1, 1) * np.repeat(magnitudes, taken.counts[chosen.live])
        self._put_back(group, chosen, (taken.values - sent).astype(np.float32))
        return chosen

    def _put_back(
        self, group: ChunkGroup, chosen: GroupCoefficients, rest: NDArray[np.float32]
    ) -> None:
        offsets, chunks = chosen.offsets(), chosen.chunk_of_each()
        for member in group.members:
            own = slice(offsets[member.first], offsets[member.first + member.tensor.chunks])
            flat = self.error_feedback[member.tensor.name].view(-1)
            index = matrix_index(member, chunks[own], chosen.positions[own])
            flat[torch.from_numpy(index).to(flat.device)] = torch.from_numpy(rest[own]).to(
                flat.device
            )


def _mean_magnitudes(taken: Taken) -> NDArray[np.float32]:
    """For every live chunk, the mean magnitude of what was taken."""
    counts = taken.counts[taken.counts > 0].astype(np.int64)
    if not len(counts):
        return np.zeros(0, np.float32)
    sums = np.add.reduceat(np.abs(taken.values), np.cumsum(counts) - counts)
    return (sums / counts).astype(np.float32)
