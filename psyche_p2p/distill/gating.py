"""The suffix gate of a round, as a model applies it."""

from __future__ import annotations

from psyche_p2p.config import DistillationConfig, ModelConfig
from psyche_p2p.distill.schedule import compute_openness
from psyche_p2p.ids import Tier
from psyche_p2p.model.suffix_gate import SuffixGate
from psyche_p2p.model.tiers import tier_width


def compute_gate(
    config: DistillationConfig, model: ModelConfig, round_index: int
) -> SuffixGate | None:
    """The gate of a round; None where the run has none, or where it is fully open."""
    openness = compute_openness(config, round_index)
    if openness == 1:
        return None
    return SuffixGate(tier_width(model, Tier(config.suffix_gate.prefix_tier)), openness)
