"""What a trainer and its workers, one for each further device, say to each other. Torch-free.

Tensors never travel here: parameters, samples and gradients go through the process group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from psyche_p2p.distill.stats import DistillationStats


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """A worker's first command: its place among the processes, and the model."""

    config: str
    tier: int
    device: str
    rank: int
    ranks: int
    backend: str
    """Of torch.distributed."""
    meeting: str
    """The file over which the processes find each other."""
    threads: int
    micro_batch: int
    """Samples at once; 0 for as many as fit."""
    cpu_processes: int
    """How many of the processes share the threads."""
    sharing: int
    """How many of the processes share this worker's device."""
    compile: bool


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The worker has its model, and goes on to meet the other processes."""


@dataclass(frozen=True, slots=True)
class Step:
    """Compute the gradients of this process's share of some samples.

    Parameters, samples and, if `positions` is not 0, a teacher's targets for these follow through
    the process group.
    """

    round: int
    samples: int
    length: int
    predicted: int
    """The predictions of all these samples, over which the mean is taken."""
    positions: int = 0
    kept: int = 0
    top_mass: float = 0.0


@dataclass(frozen=True, slots=True)
class StepDone:
    """The gradients are there, to be added to the other processes' by `SumGradients`."""

    loss: float | None
    """This share's part of the mean; None if it is not a number."""
    samples: int
    distillation: DistillationStats | None = None


@dataclass(frozen=True, slots=True)
class SumGradients:
    """Take part in adding up the gradients of the last step."""


WorkerMessage: TypeAlias = WorkerSetup | WorkerReady | Step | StepDone | SumGradients
