"""The plain kernels: torch alone, on any device.

Votes are integers and so are the basis and every partial sum, all below 2**53: float64 products of
matrices are then exact whatever order, blocking or fused multiply-add a library chooses.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from psyche_p2p.codec import ChunkGroup
from psyche_p2p.optim.basis import load_basis
from psyche_p2p.optim.chunks import Block, as_chunk_view, blocks_of, chunk_view
from psyche_p2p.optim.interface import Tensors
from psyche_p2p.optim.kernels import Taken
from psyche_p2p.optim.votes import GroupVotes

_EXACT_FLOAT64 = 1 << 53


def float64_vote_bound(group: ChunkGroup) -> int:
    """With at most so many votes on a chunk no partial sum leaves the exact integers."""
    largest = [int(np.abs(load_basis(size)).max()) for size in (group.rows, group.columns)]
    return _EXACT_FLOAT64 // (largest[0] * largest[1])


class PlainKernels:
    """See `kernels.Kernels`."""

    name = "plain"

    def take_largest(self, chunks_nrc: Tensor, top_k: int) -> Taken:
        flat = chunks_nrc.view(len(chunks_nrc), -1)
        sent = min(top_k, flat.shape[1])
        positions = flat.abs().topk(sent, dim=1, sorted=False).indices.sort(dim=1).values
        values = flat.gather(1, positions)
        flat.scatter_(1, positions, 0.0)
        taken = (values != 0).cpu().numpy()
        return Taken(
            counts=taken.sum(1).astype(np.uint16),
            positions=positions.cpu().numpy()[taken].astype(np.uint16),
            values=values.cpu().numpy()[taken],
        )

    def apply_votes(self, masters: Tensors, votes: GroupVotes, learning_rate: np.float32) -> None:
        for block in blocks_of(votes.group):
            master = masters[block.tensor.name]
            summed_nrc = sum_votes(votes, block, master.device)
            direction_nrc = integer_inverse(summed_nrc).sign_().to(torch.float32)
            chunk_view(master, block).sub_(
                as_chunk_view(direction_nrc, block), alpha=float(learning_rate)
            )


def sum_votes(votes: GroupVotes, block: Block, device: torch.device) -> Tensor:
    """The block's votes summed by coefficient, in float64."""
    group = votes.group
    summed = torch.zeros(block.chunks * group.area, dtype=torch.float64, device=device)
    for peer in votes.peers:
        starts, ends = peer.starts[block.slice], peer.ends[block.slice]
        counts = ends - starts
        chunk = np.repeat(np.arange(block.chunks), counts)
        entry = np.arange(len(chunk)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        index = torch.from_numpy(chunk * group.area + peer.positions[entry]).to(device)
        weights = torch.from_numpy(peer.weights[entry].astype(np.float64)).to(device)
        summed.index_add_(0, index, weights)
    return summed.view(block.chunks, group.rows, group.columns)


def integer_inverse(coefficients_nrc: Tensor) -> Tensor:
    """The inverse transform by the integer basis, scaled by 2**24."""
    count, rows, columns = coefficients_nrc.shape
    left, right = (
        torch.from_numpy(load_basis(size).astype(np.float64)).to(coefficients_nrc.device)
        for size in (rows, columns)
    )
    half = (coefficients_nrc.reshape(-1, columns) @ right).view(count, rows, columns)
    return torch.matmul(left.T, half)
