"""Helper mode: a machine that could train all of the FFN trains a prefix and a sample of the rest.

Each round a fresh, seeded sample of the units behind the prefix takes part, so the suffix learns at
a fraction of its cost. The sample's output is divided by its share, which keeps the expected output
that of the full layer, as dropout does. Indices are drawn from the full width, so the machine has
to hold it: helper mode is for tier 0 on a universal checkpoint, off by default, and switched off
with a warning anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from psyche_p2p.errors import ModelError
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import Tier
from psyche_p2p.log import get_logger
from psyche_p2p.model.feed_forward import FeedForward
from psyche_p2p.model.tiers import UNIVERSAL

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HelperMode:
    """`fraction` of the units behind `prefix_width` takes part; 0 switches helper mode off."""

    fraction: float
    prefix_width: int

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ModelError(
                f"a helper fraction of {self.fraction} means nothing", "choose one from 0 to 1"
            )


@dataclass(frozen=True, slots=True)
class SampledSuffixView:
    """The view of one round in helper mode: the prefix and a sample of the suffix per layer."""

    helper: HelperMode
    seed: int

    def run(self, ffn: FeedForward, x_btd: Tensor, layer: int) -> Tensor:
        prefix_btd = ffn.run_units(x_btd, 0, self.helper.prefix_width)
        units_f = self.sampled_units(ffn.width, layer).to(x_btd.device)
        if len(units_f) == 0:
            return prefix_btd
        share = len(units_f) / (ffn.width - self.helper.prefix_width)
        return prefix_btd + ffn.run_selected(x_btd, units_f) / share

    def sampled_units(self, width: int, layer: int) -> Tensor:
        """The sorted units of a layer that take part, all beyond the prefix."""
        suffix = width - self.helper.prefix_width
        count = round(suffix * self.helper.fraction)
        digest = hash_parts("helper units", str(self.seed).encode(), str(layer).encode())
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        chosen = torch.randperm(suffix, generator=generator)[:count]
        return chosen.sort().values + self.helper.prefix_width


def helper_refusal(tier: Tier, held_tier: Tier) -> str | None:
    """Why helper mode cannot be used at this tier of this checkpoint; None if it can."""
    if held_tier != UNIVERSAL:
        return "sliced checkpoint"
    return f"tier {tier}" if tier != UNIVERSAL else None


def allowed_fraction(fraction: float, tier: Tier, held_tier: Tier) -> float:
    """The fraction to use: 0, with a warning, where helper mode is not possible."""
    refusal = helper_refusal(tier, held_tier)
    if fraction == 0 or refusal is None:
        return fraction
    _log.warning("helper mode switched off", reason=refusal, requested_fraction=fraction)
    return 0.0
