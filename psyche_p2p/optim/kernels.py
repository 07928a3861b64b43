"""What the two loops worth compiling do, in whichever form; `choose.py` says which form is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.codec import ChunkGroup
from psyche_p2p.optim.interface import Tensors
from psyche_p2p.optim.votes import GroupVotes


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Coefficients taken out of every chunk, chunk after chunk, positions rising within each."""

    counts: NDArray[np.uint16]
    positions: NDArray[np.uint16]
    values: NDArray[np.float32]


class Kernels(Protocol):
    """What has a plain and a fast form."""

    name: str

    def take_largest(self, tensors: Tensors, group: ChunkGroup, top_k: int) -> Taken:
        """The `top_k` largest of every chunk by magnitude, which become zero in the tensors.

        What is zero already is never taken.
        """

    def apply_votes(self, masters: Tensors, votes: GroupVotes, learning_rate: np.float32) -> None:
        """masters -= learning_rate * sign(inverse transform of the summed votes), exactly."""
