"""How far the suffix gate is open and how much distillation counts in a round.

Both follow from the run's configuration and the round alone, so every peer has the same. The
synergy keys, where they are set, replace the start and the warm-up of both. Torch-free: a peer asks
here whether its trainer waits for a teacher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from psyche_p2p.config import DistillationConfig


@dataclass(frozen=True, slots=True)
class Ramp:
    """0 up to the round `start`, 1 from `rounds` later on."""

    start: int
    rounds: int
    shape: Literal["linear", "cosine"] = "linear"

    def at(self, round_index: int) -> float:
        """The height in a round, exactly 0 before the ramp and exactly 1 behind it."""
        if round_index < self.start:
            return 0.0
        if round_index >= self.start + self.rounds:
            return 1.0
        share = (round_index - self.start) / self.rounds
        return (1 - math.cos(math.pi * share)) / 2 if self.shape == "cosine" else share


def compute_beta(config: DistillationConfig, round_index: int) -> float:
    """The weight of KD that the schedule asks for: the `beta_requested` of the statistics."""
    if not config.enabled:
        return 0.0
    return config.beta_max * _distillation_ramp(config).at(round_index)


def needs_targets(config: DistillationConfig, round_index: int) -> bool:
    """Whether students wait for targets in this round."""
    return compute_beta(config, round_index) > 0


def compute_openness(config: DistillationConfig, round_index: int) -> float:
    """How much of tier 0's suffix takes part: 1 where the run has no gate."""
    return _gate_ramp(config).at(round_index) if config.suffix_gate.enabled else 1.0


def _distillation_ramp(config: DistillationConfig) -> Ramp:
    synergy = config.synergy
    if synergy.ramp_rounds:
        return Ramp(synergy.phase_a_rounds, synergy.ramp_rounds)
    return Ramp(config.start_round, config.warmup_rounds)


def _gate_ramp(config: DistillationConfig) -> Ramp:
    gate, synergy = config.suffix_gate, config.synergy
    if synergy.ramp_rounds:
        return Ramp(synergy.phase_a_rounds, synergy.ramp_rounds, gate.shape)
    return Ramp(gate.start_round, gate.warmup_rounds, gate.shape)
