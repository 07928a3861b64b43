"""Applying a round: the one place where all peers must compute the same bits.

Votes are integers, their inverse transform is exact, and what remains is two roundings a parameter
that IEEE 754 fixes: one for the weight decay and one for the step. Nothing here may be fused,
compiled or reordered by a library: a multiply-add in one instruction rounds once where two round
twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from psyche_p2p.codec import SCALE_UNIT, Payload
from psyche_p2p.optim.chunks import as_chunk_view, blocks_of, chunk_view
from psyche_p2p.optim.grids import ModelGrids
from psyche_p2p.optim.interface import Contribution, Tensors
from psyche_p2p.optim.kernels import Kernels
from psyche_p2p.optim.plain import PlainKernels, float64_vote_bound, sum_votes
from psyche_p2p.optim.votes import GroupVotes, collect_votes, require_exact

_EXACT_INTEGERS = 1 << 53


@torch.no_grad()
def apply_signs(
    masters: Tensors,
    grids: ModelGrids,
    contributions: Sequence[Contribution],
    *,
    learning_rate: np.float32,
    weight_decay: float,
    kernels: Kernels,
) -> None:
    """DisTrO's step: shrink by the weight decay, then move against the sign of the summed votes."""
    groups = collect_votes(grids, contributions)
    for votes in groups:
        require_exact(votes, float64_vote_bound(votes.group))
    decay_weights(masters, learning_rate, weight_decay)
    if any(part.coefficients.payload is Payload.VALUES for part in contributions):
        kernels = PlainKernels()
    for votes in groups:
        kernels.apply_votes(masters, votes, learning_rate)


@torch.no_grad()
def apply_scaled_signs(
    masters: Tensors, grids: ModelGrids, contributions: Sequence[Contribution]
) -> None:
    """SparseLoCo's step: subtract the mean over the peers whose tier holds the chunk."""
    groups = collect_votes(grids, contributions)
    for votes in groups:
        require_exact(votes, _EXACT_INTEGERS)
    for votes in groups:
        _apply_mean(masters, votes)


def decay_weights(masters: Tensors, learning_rate: np.float32, weight_decay: float) -> None:
    """masters *= 1 - learning_rate * weight_decay, every operation rounded to float32."""
    if weight_decay == 0:
        return
    factor = np.float32(1) - learning_rate * np.float32(weight_decay)
    for master in masters.values():
        master.mul_(float(factor))


def _apply_mean(masters: Tensors, votes: GroupVotes) -> None:
    """An exact sum, one division and one conversion, each correctly rounded."""
    contributors = torch.from_numpy(votes.count_contributors()).clamp_(min=1).to(torch.float64)
    for block in blocks_of(votes.group):
        master = masters[block.tensor.name]
        mean_nrc = sum_votes(votes, block, master.device)
        mean_nrc /= contributors[block.slice, None, None].to(master.device)
        step_nrc = (mean_nrc * SCALE_UNIT).to(torch.float32)
        chunk_view(master, block).sub_(as_chunk_view(step_nrc, block))
