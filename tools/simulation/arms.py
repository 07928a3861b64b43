"""The arms of the distillation experiment: what each trains with, at the same tokens of tier 0.

The model is one whose tier 0 is clearly better than its smallest tier (docs/experiments.md). All
arms read tier 0's batches from the same places, so that they can be compared seed by seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psyche_p2p.config import (
    DataConfig,
    DistillationConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    SuffixGateConfig,
    SynergyConfig,
)
from simulation.peers import Setting, Teaching

STUDENT_TIER = 4
_MODEL = ModelConfig(
    vocab_size=256,
    hidden_size=128,
    intermediate_size=1024,
    num_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_seq_len=64,
    max_tier=STUDENT_TIER,
)
_PHASE_A_SHARE, _RAMP_SHARE = 0.2, 0.3


@dataclass(frozen=True, slots=True)
class Arm:
    """What makes an arm different."""

    tiers: tuple[int, ...] = (0, STUDENT_TIER)
    has_kd: bool = False
    gate_tier: int = 0
    """The tier whose units the gate leaves open; 0 for no gate."""
    phase_a_share: float = _PHASE_A_SHARE
    ramp_share: float = _RAMP_SHARE
    kd: Mapping[str, Any] = field(default_factory=dict)
    teaching: Teaching = field(default_factory=Teaching)


ARMS: dict[str, Arm] = {
    "alone": Arm(tiers=(0,)),
    "mixed": Arm(),
    "gate": Arm(gate_tier=STUDENT_TIER),
    "kd": Arm(has_kd=True),
    "both": Arm(has_kd=True, gate_tier=STUDENT_TIER),
    # what else was tried
    "two-full": Arm(tiers=(0, 0)),
    "kd-beta1": Arm(has_kd=True, kd={"beta_max": 1.0}),
    "kd-warm": Arm(has_kd=True, kd={"beta_max": 1.0, "temperature": 2.0}),
    "kd-average": Arm(
        has_kd=True, kd={"beta_max": 0.9, "combine": "mix"}, teaching=Teaching(average=0.99)
    ),
    "kd-shared": Arm(has_kd=True, kd={"beta_max": 1.0}, teaching=Teaching(shared_batches=True)),
    "mixed-shared": Arm(teaching=Teaching(shared_batches=True)),
    "kd-late": Arm(has_kd=True, kd={"beta_max": 1.0}, phase_a_share=0.5, ramp_share=0.1),
    "gate-tier1": Arm(gate_tier=1),
    "gate-short": Arm(gate_tier=1, phase_a_share=0.05, ramp_share=0.1),
    "gate-long": Arm(gate_tier=STUDENT_TIER, phase_a_share=0.4, ramp_share=0.3),
    # each tier on its own, to know what there is to teach
    **{f"tier{tier}": Arm(tiers=(tier,)) for tier in range(1, STUDENT_TIER + 1)},
}


def make_setting(arm: Arm, seed: int, steps: int, heldout_samples: int) -> Setting:
    """The run of an arm."""
    synergy = SynergyConfig(
        phase_a_rounds=max(1, round(steps * arm.phase_a_share)),
        ramp_rounds=max(1, round(steps * arm.ramp_share)),
    )
    gate = SuffixGateConfig(enabled=arm.gate_tier > 0, prefix_tier=arm.gate_tier or 1)
    return Setting(
        model=_MODEL,
        data=DataConfig(sequence_length=64),
        optimizer=OptimizerConfig(kind="distro"),
        schedule=ScheduleConfig(
            kind="cosine", learning_rate=2e-3, warmup_rounds=max(1, steps // 16)
        ),
        tiers=arm.tiers,
        steps=steps,
        delay=0,
        seed=seed,
        samples_per_step=8,
        heldout_samples=heldout_samples,
        batches_a_step=2,
        distillation=DistillationConfig(
            enabled=arm.has_kd, suffix_gate=gate, synergy=synergy, **arm.kd
        ),
        teaching=arm.teaching,
    )
