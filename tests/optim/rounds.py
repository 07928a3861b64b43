"""Fifty rounds of applying random contributions, in one of many ways; run as a program too.

    python -m tests.optim.rounds '{"threads": 2}'      # prints the hash of the parameters

The hash is that of the smallest tier's part, so that peers of all tiers can be compared.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass, replace

import numpy as np
import torch

from psyche_p2p.codec import Coefficients
from psyche_p2p.optim.chunks import as_chunk_view, blocks_of, chunk_view
from psyche_p2p.optim.dct import inverse_dct
from psyche_p2p.optim.exact import apply_signs
from psyche_p2p.optim.fast import FastKernels
from psyche_p2p.optim.interface import Contribution, Tensors
from psyche_p2p.optim.kernels import Kernels, Taken
from psyche_p2p.optim.plain import PlainKernels, sum_votes
from psyche_p2p.optim.votes import GroupVotes
from tests.optim.models import hash_parameters, make_contributions, make_grids, make_parameters

ROUNDS = 50
PEER_TIERS = (0, 1, 2, 0)


@dataclass(frozen=True)
class Way:
    """How to apply; every way but `float` must end in the same bits."""

    kernels: str = "fast"
    threads: int = 1
    shuffled: bool = False
    held_tier: int = 0
    hashed_tier: int = 2
    device: str = "cpu"


class FloatKernels:
    """What must not be done: the inverse transform in float32, summed in the peers' order."""

    name = "float"

    def take_largest(self, chunks_nrc: torch.Tensor, top_k: int) -> Taken:
        return PlainKernels().take_largest(chunks_nrc, top_k)

    def apply_votes(self, masters: Tensors, votes: GroupVotes, learning_rate: np.float32) -> None:
        for block in blocks_of(votes.group):
            master = masters[block.tensor.name]
            total = torch.zeros(block.chunks, votes.group.rows, votes.group.columns)
            for peer in votes.peers:
                one = GroupVotes(votes.group, (peer,))
                total += inverse_dct(sum_votes(one, block, master.device).float())
            step = as_chunk_view(total.sign_(), block)
            chunk_view(master, block).sub_(step, alpha=float(learning_rate))


KERNELS: dict[str, Kernels] = {
    "fast": FastKernels(),
    "plain": PlainKernels(),
    "float": FloatKernels(),
}


def hash_after_rounds(way: Way) -> str:
    """Fifty rounds at a falling learning rate with weight decay, from fixed seeds."""
    torch.set_num_threads(way.threads)
    grids = make_grids(way.held_tier)
    masters = {name: value.to(way.device) for name, value in make_parameters(way.held_tier).items()}
    for index in range(ROUNDS):
        contributions = make_contributions(make_grids(), PEER_TIERS, seed=index)
        if index % 5 == 4:  # peers that disagree: what is exactly zero must move nothing
            contributions += [negate(contribution) for contribution in contributions]
        if way.shuffled:
            random.Random(index).shuffle(contributions)
        apply_signs(
            masters,
            grids,
            contributions,
            learning_rate=np.float32(0.01) / np.float32(index + 1),
            weight_decay=0.1,
            kernels=KERNELS[way.kernels],
        )
    return hash_parameters(masters, way.hashed_tier)


def negate(contribution: Contribution) -> Contribution:
    """The same coefficients with the other signs."""
    sent = contribution.coefficients
    groups = tuple(replace(group, negative=~group.negative) for group in sent.groups)
    return Contribution(contribution.tier, Coefficients(sent.payload, sent.top_k, groups))


if __name__ == "__main__":
    sys.stdout.write(hash_after_rounds(Way(**json.loads(sys.argv[1]))))
