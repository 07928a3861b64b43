"""The two loops worth compiling, and the choice between their plain and their fast form.

Plain is torch on any device; fast is numba on the CPU (about twice as fast over a whole step, see
docs/experiments.md). Both give the same bits, which the tests hold them to. The choice is made once
a process; where numba cannot be imported or cannot compile, plain is used and the log says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psyche_p2p.log import get_logger
from psyche_p2p.optim.interface import Tensors
from psyche_p2p.optim.votes import GroupVotes

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Coefficients taken out of every chunk, chunk after chunk, positions rising within each."""

    counts: NDArray[np.uint16]
    positions: NDArray[np.uint16]
    values: NDArray[np.float32]


class Kernels(Protocol):
    """What has a plain and a fast form."""

    name: str

    def take_largest(self, chunks_nrc: Tensor, top_k: int) -> Taken:
        """The `top_k` largest of every chunk by magnitude, which become zero in the chunks.

        What is zero already is never taken.
        """

    def apply_votes(self, masters: Tensors, votes: GroupVotes, learning_rate: np.float32) -> None:
        """masters -= learning_rate * sign(inverse transform of the summed votes), exactly."""


def choose_kernels(device: torch.device) -> Kernels:
    """The fast kernels for tensors on the CPU if they work here, else the plain ones."""
    from psyche_p2p.optim.plain import PlainKernels

    fast = _load_fast() if device.type == "cpu" else None
    return PlainKernels() if fast is None else fast


@cache
def _load_fast() -> Kernels | None:
    try:
        from psyche_p2p.optim.fast import FastKernels
    except (ImportError, RuntimeError) as error:  # no wheel for this Python, or no cache folder
        log.warning("numba is not usable, plain kernels instead", reason=str(error))
        return None
    return FastKernels()
