"""The learning rate of a round: schedules, and the float32 bit pattern that peers agree on.

Cosines differ between math libraries, so the bits of the block that opens a round are what counts;
peers compute this only to propose it, or to see that a proposal is within `MAX_ULPS` of their own.
This module needs no torch.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from psyche_p2p.config import RunConfig, ScheduleConfig
from psyche_p2p.errors import ConfigError

MAX_ULPS = 2
_POSITIVE_INFINITY = 0x7F800000


def compute_learning_rate(
    schedule: ScheduleConfig,
    total_rounds: int,
    round_index: int,
    *,
    peak: float | None = None,
    cold_start_round: int | None = None,
) -> float:
    """The learning rate of a round, counted from 0.

    `peak` replaces the schedule's own (sparse_loco has one for its inner steps).
    `cold_start_round` is the first round after a pause in which the optimizers lost their state:
    from there the rate grows linearly for `cold_start_warmup_rounds`.
    """
    rate = (schedule.learning_rate if peak is None else peak) * _shape(
        schedule, total_rounds, round_index
    )
    if cold_start_round is not None and round_index >= cold_start_round:
        rate *= _ramp(round_index - cold_start_round, schedule.cold_start_warmup_rounds)
    return rate


def compute_run_learning_rate(
    config: RunConfig, round_index: int, cold_start_round: int | None = None
) -> float:
    """The learning rate of a round of this run, with the peak of its optimizer."""
    sparse_loco = config.optimizer.kind == "sparse_loco"
    return compute_learning_rate(
        config.schedule,
        config.run.total_rounds,
        round_index,
        peak=config.optimizer.sparse_loco.inner_learning_rate if sparse_loco else None,
        cold_start_round=cold_start_round,
    )


def learning_rate_to_bits(rate: float) -> int:
    """The bit pattern of the nearest float32."""
    return int.from_bytes(struct.pack("<f", rate), "little")


def learning_rate_from_bits(bits: int) -> np.float32:
    """The float32 of a bit pattern; refuses what no schedule gives: negative, infinite, NaN."""
    if not 0 <= bits < _POSITIVE_INFINITY:
        raise ConfigError(f"{bits:#x} is not the bit pattern of a learning rate")
    (rate,) = struct.unpack("<f", bits.to_bytes(4, "little"))
    return np.float32(rate)  # type: ignore[no-any-return]  # numpy's stub of the constructor


def is_close_learning_rate(bits: int, own_bits: int) -> bool:
    """Whether a proposed rate is what we computed, but for the math library's last bits."""
    return 0 <= bits < _POSITIVE_INFINITY and abs(bits - own_bits) <= MAX_ULPS


def _shape(schedule: ScheduleConfig, total_rounds: int, round_index: int) -> float:
    """The rate as a share of the peak."""
    if round_index < schedule.warmup_rounds:
        return _ramp(round_index, schedule.warmup_rounds)
    if schedule.kind == "constant":
        return 1.0
    progress = _decay_progress(schedule, total_rounds, round_index)
    above_final = 1.0 - progress
    if schedule.kind == "cosine":
        above_final = 0.5 * (1.0 + math.cos(math.pi * progress))
    return schedule.final_ratio + (1.0 - schedule.final_ratio) * above_final


def _decay_progress(schedule: ScheduleConfig, total_rounds: int, round_index: int) -> float:
    """0 until the decay begins, 1 in the run's last round and in all that may follow."""
    span = total_rounds - 1 - schedule.warmup_rounds
    if schedule.kind == "warmup_stable_decay":
        span = schedule.decay_rounds
    start = total_rounds - 1 - span
    return min(max((round_index - start) / span, 0.0), 1.0) if span > 0 else 0.0


def _ramp(rounds_done: int, rounds: int) -> float:
    return min(1.0, (rounds_done + 1) / rounds) if rounds else 1.0
