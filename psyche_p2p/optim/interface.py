"""What every optimizer offers to whoever runs a round, and what peers give each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from psyche_p2p.codec import Coefficients
from psyche_p2p.ids import Tier

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One peer's update of one round, on the chunk grid of its tier."""

    tier: Tier
    coefficients: Coefficients


class Optimizer(Protocol):
    """One peer's optimizer. Masters are what the run agrees on; training reads a working copy.

    A round is `begin_round`, then `inner_steps` gradients given to `accumulate`, then one
    `contribution`. A peer that does not train in a round does none of these. `apply` comes once a
    round on every peer, whenever the round's contributions are known, and alone moves the masters.
    """

    inner_steps: int
    """How many gradients a round takes."""
    masters: Tensors
    """The float32 parameters that are bit-identical on all peers."""
    working_parameters: Tensors
    """What the forward pass reads; only `begin_round` and `accumulate` write it."""

    def begin_round(self, learning_rate: float) -> None:
        """Bring the working parameters up to date with the masters, or ahead of them."""

    def accumulate(self, gradients: Tensors) -> None:
        """Take in the mean gradient of one step."""

    def contribution(self) -> Contribution:
        """The round's update; it is thereby sent, and no longer part of this peer's state."""

    def apply(self, contributions: Sequence[Contribution], learning_rate_bits: int) -> None:
        """Move the masters by all peers' contributions of one round, the same on every peer."""
