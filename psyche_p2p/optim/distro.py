"""DisTrO: momentum in the cosine domain, the signs of its largest coefficients, sign descent.

After DeMo (arXiv 2411.19870) and Psyche's DisTrO, with the momentum kept transformed: the transform
is linear and orthonormal, so gradients are added transformed, and removing what was sent is setting
coefficients to zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from psyche_p2p.codec import ChunkGrid, ChunkGroup, Coefficients, GroupCoefficients, Payload
from psyche_p2p.config import DistroConfig
from psyche_p2p.ids import Tier
from psyche_p2p.optim.chunks import Block, as_matrix, blocks_of, narrow_to
from psyche_p2p.optim.dct import add_dct_, inverse_dct
from psyche_p2p.optim.exact import apply_signs
from psyche_p2p.optim.gradients import compute_clip_scale
from psyche_p2p.optim.grids import ModelGrids
from psyche_p2p.optim.interface import Contribution, Tensors
from psyche_p2p.optim.kernels import Kernels
from psyche_p2p.optim.schedule import learning_rate_from_bits


class Distro:
    """See `interface.Optimizer`. Momentum has the parameters' shapes, each chunk transformed.

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
        momentum: Tensors,
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
        for block in self._blocks():
            name = block.tensor.name
            working = narrow_to(self.working_parameters[name], block.tensor.shape)
            ahead_rc = inverse_dct(as_matrix(self.momentum[name]), block).sign_()
            as_matrix(working)[block.matrix_rows].sub_(ahead_rc, alpha=learning_rate)

    @torch.no_grad()
    def accumulate(self, gradients: Tensors) -> None:
        """Momentum decays with the round's first gradient; every gradient is added, clipped."""
        clip = compute_clip_scale(gradients, self._config.clip_grad_norm)
        scale = clip * self._learning_rate
        for block in self._blocks():
            name = block.tensor.name
            gradient = narrow_to(gradients[name], block.tensor.shape)
            add_dct_(
                as_matrix(self.momentum[name]),
                as_matrix(gradient),
                block,
                decay=self._decay,
                scale=scale,
                dtype=self._transform_dtype,
            )
        self._decay = 1.0

    @torch.no_grad()
    def contribution(self) -> Contribution:
        signs_only = self._config.quantize_1bit
        groups = tuple(self._take_largest(group, signs_only) for group in self._trained_grid.groups)
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

    def _blocks(self) -> Iterator[Block]:
        for group in self._trained_grid.groups:
            yield from blocks_of(group)

    def _take_largest(self, group: ChunkGroup, signs_only: bool) -> GroupCoefficients:
        taken = self._kernels.take_largest(self.momentum, group, self._config.top_k)
        return GroupCoefficients(
            taken.counts,
            taken.positions,
            taken.values < 0,
            values=None if signs_only else taken.values,
        )
