"""The first parameters of a run as a model's, at any tier (`initial_values.py` draws them)."""

from __future__ import annotations

import torch
from torch import Tensor

from psyche_p2p.config import ModelConfig
from psyche_p2p.ids import Tier
from psyche_p2p.model.initial_values import initial_values
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.model.tiers import UNIVERSAL, slice_state, tier_width
from psyche_p2p.model.transformer import Transformer, model_from_state


def initial_model(config: ModelConfig, seed: int, held_tier: Tier = UNIVERSAL) -> Transformer:
    """The untrained model of a run; a sliced one is the prefix of the full one."""
    return model_from_state(config, initial_state(config, seed, held_tier), held_tier)


def initial_state(config: ModelConfig, seed: int, held_tier: Tier = UNIVERSAL) -> dict[str, Tensor]:
    """The first value of every parameter, one tensor at a time."""
    width = tier_width(config, held_tier)
    state = {}
    for name, shape in parameter_shapes(config).items():
        full = torch.from_numpy(initial_values(config, seed, name, shape))
        state.update({name: full} if held_tier == UNIVERSAL else slice_state({name: full}, width))
    return state
