"""The telemetry of distillation. Torch-free: a peer reads what its trainer measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from psyche_p2p.log import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DistillationStats:
    """A student's batch; means over its positions."""

    ce: float
    """Cross-entropy."""
    kd_raw: float
    """The divergence from the teacher."""
    kd_scale: float
    """By how much it is strengthened because the teacher is unsure."""
    kd: float
    """The product of the two."""
    beta_requested: float
    """What the schedule asks for."""
    beta: float
    """What it came to: 0 if the teacher was not confident enough."""
    q_topk_mass: float
    """The probability that the teacher gives the tokens it sent."""
    p_topk_mass: float
    """The probability that the student gives the same."""


def mean_statistics(parts: Sequence[tuple[DistillationStats, int]]) -> DistillationStats:
    """The mean of several portions, each weighted by its samples."""
    total = sum(samples for _, samples in parts)
    means = {
        field.name: sum(getattr(stats, field.name) * samples for stats, samples in parts) / total
        for field in fields(DistillationStats)
    }
    return DistillationStats(**means)


def log_statistics(stats: DistillationStats, round_index: int) -> None:
    """The `distillation stats` line of a round."""
    _log.info("distillation stats", round=round_index, **asdict(stats))
