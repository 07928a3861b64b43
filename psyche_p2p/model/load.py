"""Loading a checkpoint at the tier a machine was asked to run.

The strategy says what the operator believes the checkpoint to be. `auto` finds out; `universal`
takes it for a full model of which a tier is cut; `sliced` for one that was cut already. Cutting a
slice again at the same tier would halve the FFN twice, so that is refused rather than guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import Checkpoint
from psyche_p2p.model.helper import allowed_fraction
from psyche_p2p.model.tiers import tier_width
from psyche_p2p.model.transformer import Transformer, model_from_state


class LoadStrategy(Enum):
    """What the operator says a checkpoint is."""

    AUTO = "auto"
    UNIVERSAL = "universal"
    SLICED = "sliced"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How a checkpoint will be loaded, decided before any weight is read."""

    checkpoint: Checkpoint
    strategy: LoadStrategy
    tier: Tier
    requested_tier: Tier | None
    helper_fraction: float
    requested_helper_fraction: float

    @property
    def effective_tier(self) -> Tier:
        """How far loading cuts what the checkpoint stores: 0 for a slice loaded as it is."""
        return Tier(self.tier - self.checkpoint.held_tier)

    @property
    def width(self) -> int:
        return tier_width(self.checkpoint.config, self.tier)

    @property
    def stored_width(self) -> int:
        return tier_width(self.checkpoint.config, self.checkpoint.held_tier)


def plan_load(
    checkpoint: Checkpoint,
    tier: Tier | None = None,
    strategy: LoadStrategy = LoadStrategy.AUTO,
    helper_fraction: float = 0.0,
) -> LoadPlan:
    """How to load a checkpoint at a tier (its own, if none is given), or why that cannot be."""
    wanted = checkpoint.held_tier if tier is None else tier
    validate_no_double_slicing(checkpoint, wanted, strategy)
    checkpoint.require_tier(wanted)
    if strategy is LoadStrategy.SLICED and wanted != checkpoint.held_tier:
        raise ModelError(
            f"{str(checkpoint.folder)!r} holds tier {checkpoint.held_tier}, so it is not sliced to "
            f"tier {wanted}",
            f"use strategy auto, or first: psyche-peer checkpoint slice --tier {wanted}",
        )
    fraction = allowed_fraction(helper_fraction, wanted, checkpoint.held_tier)
    return LoadPlan(checkpoint, strategy, wanted, tier, fraction, helper_fraction)


def validate_no_double_slicing(checkpoint: Checkpoint, tier: Tier, strategy: LoadStrategy) -> None:
    """ModelError if a slice would be taken for a full model and cut once more."""
    if strategy is LoadStrategy.UNIVERSAL and checkpoint.is_sliced and tier > 0:
        raise ModelError(
            f"{str(checkpoint.folder)!r} is already sliced to tier {checkpoint.held_tier}: loading "
            f"it as universal at tier {tier} would slice it twice",
            "use strategy auto or sliced, or give the universal checkpoint",
        )


def load_model(plan: LoadPlan, *, keep_suffix: bool = False) -> Transformer:
    """The model of a plan. It holds only the tier it runs, unless the suffix is to be kept."""
    held = plan.checkpoint.held_tier if keep_suffix else plan.tier
    model = model_from_state(plan.checkpoint.config, plan.checkpoint.read_state(held), held)
    model.suffix_gate = plan.checkpoint.suffix_gate
    return model
