"""DisTrO: momentum in the cosine domain, the signs of its largest coefficients, sign descent.

After DeMo (arXiv 2411.19870) and Psyche's DisTrO, with the momentum kept transformed: the transform
is linear and orthonormal, so gradients are added transformed, and removing what was sent is setting
coefficients to zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from psyche_p2p.codec import ChunkGrid, Coefficients, GroupCoefficients, Payload
from psyche_p2p.config import DistroConfig
from psyche_p2p.ids import Tier
from psyche_p2p.optim.chunks import (
    as_chunk_view,
    blocks_of,
    chunk_view,
    narrow_to,
    read_chunks,
)
from psyche_p2p.optim.dct import add_dct_, inverse_dct
from psyche_p2p.optim.exact import apply_signs
from psyche_p2p.optim.gradients import compute_clip_scale
from psyche_p2p.optim.interface import Contribution, Tensors
from psyche_p2p.optim.kernels import Kernels
from psyche_p2p.optim.schedule import learning_rate_from_bits
from psyche_p2p.optim.votes import ModelGrids


class Distro:
    """See `interface.Optimizer`. Momentum is one `[chunk, row, column]` tensor a group.

    `trained_tier` may be narrower than the tier the parameters are held at; momentum, lookahead and
    contributions then cover only its prefix. `transform_dtype` may be bfloat16 where that is
    faster: encoding need not agree between peers.
    """

    inner_steps = 1

    def __init__(
        self,
        config: DistroConfig,
        grids: ModelGrids,
        *,
        masters: Tensors,
        working_parameters: Tensors,
        momentum: Sequence[Tensor],
        trained_tier: Tier,
        kernels: Kernels,
        transform_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.masters = masters
        self.working_parameters = working_parameters
        self.momentum = momentum
        self._config = config
        self._grids = grids
        self._trained_tier = trained_tier
        self._kernels = kernels
        self._transform_dtype = transform_dtype
        self._learning_rate = 0.0
        self._decay = 1.0

    @property
    def _trained_grid(self) -> ChunkGrid:
        return self._grids.at(self._trained_tier)

    @torch.no_grad()
    def begin_round(self, learning_rate: float) -> None:
        """Set the working copy to the masters, ahead by what the momentum will yet ask for."""
        self._learning_rate = learning_rate
        self._decay = self._config.momentum_decay
        if not self._config.lookahead:
            return
        for name, working in self.working_parameters.items():
            working.copy_(self.masters[name])
        for group, momentum_nrc in zip(self._trained_grid.groups, self.momentum, strict=True):
            for block in blocks_of(group):
                working = narrow_to(self.working_parameters[block.tensor.name], block.tensor.shape)
                ahead_nrc = inverse_dct(momentum_nrc[block.slice]).sign_()
                chunk_view(working, block).sub_(
                    as_chunk_view(ahead_nrc, block), alpha=learning_rate
                )

    @torch.no_grad()
    def accumulate(self, gradients: Tensors) -> None:
        """Momentum decays with the round's first gradient; every gradient is added, clipped."""
        clip = compute_clip_scale(gradients, self._config.clip_grad_norm)
        scale = clip * self._learning_rate
        for group, momentum_nrc in zip(self._trained_grid.groups, self.momentum, strict=True):
            for block in blocks_of(group):
                gradient = narrow_to(gradients[block.tensor.name], block.tensor.shape)
                chunks_nrc = read_chunks(gradient, block).to(self._transform_dtype)
                add_dct_(momentum_nrc[block.slice], chunks_nrc, decay=self._decay, scale=scale)
        self._decay = 1.0

    @torch.no_grad()
    def contribution(self) -> Contribution:
        signs_only = self._config.quantize_1bit
        groups = tuple(
            self._take_largest(momentum_nrc, signs_only) for momentum_nrc in self.momentum
        )
        payload = Payload.SIGNS if signs_only else Payload.VALUES
        return Contribution(self._trained_tier, Coefficients(payload, self._config.top_k, groups))

    def apply(self, contributions: Sequence[Contribution], learning_rate_bits: int) -> None:
        apply_signs(
            self.masters,
            self._grids,
            contributions,
            learning_rate=learning_rate_from_bits(learning_rate_bits),
            weight_decay=self._config.weight_decay,
            kernels=self._kernels,
        )

    def _take_largest(self, momentum_nrc: Tensor, signs_only: bool) -> GroupCoefficients:
        taken = self._kernels.take_largest(momentum_nrc, self._config.top_k)
        return GroupCoefficients(
            taken.counts,
            taken.positions,
            taken.values < 0,
            values=None if signs_only else taken.values,
        )
