"""Small model configurations that the tests of this package share."""

from __future__ import annotations

from typing import Any

from psyche_p2p.config import ModelConfig

_TINY: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_seq_len": 32,
    "max_tier": 2,
}


def tiny_config(**changes: Any) -> ModelConfig:
    """Two layers, grouped heads, three tiers; anything can be changed."""
    return ModelConfig(**{**_TINY, **changes})
