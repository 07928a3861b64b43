"""The ramps: exact at both ends, replaced by the synergy keys, the same for gate and KD."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from psyche_p2p.config import DistillationConfig, SuffixGateConfig, SynergyConfig
from psyche_p2p.distill.gating import compute_gate
from psyche_p2p.distill.schedule import Ramp, compute_beta, needs_targets
from psyche_p2p.model.suffix_gate import SuffixGate
from tests.model.configs import tiny_config

MODEL = tiny_config()


def settings(gate: dict[str, Any] | None = None, **changes: Any) -> DistillationConfig:
    suffix_gate = SuffixGateConfig(**{"enabled": True, **(gate or {})})
    return DistillationConfig(**{"enabled": True, "suffix_gate": suffix_gate, **changes})


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_a_ramp_is_exact_at_its_ends_and_rises_between(shape: Any) -> None:
    ramp = Ramp(10, 40, shape)
    heights = [ramp.at(index) for index in range(60)]
    assert heights[:11] == [0.0] * 11
    assert heights[50:] == [1.0] * 10
    assert all(low < high for low, high in pairwise(heights[10:51]))
    assert ramp.at(30) == pytest.approx(0.5)
    assert (ramp.at(20) < 0.2) == (shape == "cosine")


def test_without_warm_up_it_is_a_step() -> None:
    assert [Ramp(3, 0).at(index) for index in range(5)] == [0, 0, 0, 1, 1]
    assert compute_gate(settings(), MODEL, 0) is None
    assert compute_beta(settings(), 0) == 0.2


def test_what_is_not_enabled_is_not_there() -> None:
    assert compute_beta(DistillationConfig(), 1000) == 0
    assert not needs_targets(DistillationConfig(), 1000)
    assert compute_gate(DistillationConfig(), MODEL, 0) is None


def test_the_keys_of_each_count_on_their_own() -> None:
    config = settings(
        {"start_round": 4, "warmup_rounds": 10, "prefix_tier": 2}, start_round=20, warmup_rounds=10
    )
    prefix = MODEL.intermediate_size >> 2
    assert compute_gate(config, MODEL, 4) == SuffixGate(prefix, 0.0)
    assert compute_gate(config, MODEL, 9) == SuffixGate(prefix, 0.5)
    assert compute_gate(config, MODEL, 14) is None
    assert compute_beta(config, 25) == pytest.approx(0.1)


def test_the_synergy_keys_replace_both_and_move_them_together() -> None:
    config = settings(
        {"start_round": 1, "warmup_rounds": 1},
        start_round=2,
        warmup_rounds=2,
        synergy=SynergyConfig(phase_a_rounds=200, ramp_rounds=500),
    )
    for index in (0, 3, 199, 200):
        assert compute_gate(config, MODEL, index) == SuffixGate(MODEL.intermediate_size >> 1, 0.0)
        assert compute_beta(config, index) == 0
        assert not needs_targets(config, index)
    for index in (201, 450, 699):
        gate = compute_gate(config, MODEL, index)
        assert gate is not None
        assert gate.openness == pytest.approx((index - 200) / 500)
        assert compute_beta(config, index) == pytest.approx(0.2 * gate.openness)
        assert needs_targets(config, index)
    assert compute_gate(config, MODEL, 700) is None
    assert compute_beta(config, 700) == 0.2
