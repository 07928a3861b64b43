"""What tensors a model has, said without making it: torch-free, for the peer beside the trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType

from psyche_p2p.config import ModelConfig
from psyche_p2p.ids import Tier
from psyche_p2p.model.tiers import UNIVERSAL, tier_width

Shape = tuple[int, ...]


@lru_cache(maxsize=16)
def parameter_shapes(config: ModelConfig, held_tier: Tier = UNIVERSAL) -> Mapping[str, Shape]:
    """Name and shape of every parameter of the model at a tier, sorted by name."""
    return MappingProxyType(dict(sorted(_shapes(config, held_tier))))


def _shapes(config: ModelConfig, held_tier: Tier) -> Iterator[tuple[str, Shape]]:
    embedding = (config.vocab_size, config.hidden_size)
    yield "model.embed_tokens.weight", embedding
    yield "model.norm.weight", (config.hidden_size,)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", embedding
    for layer in range(config.num_layers):
        for name, shape in _block_shapes(config, tier_width(config, held_tier)):
            yield f"model.layers.{layer}.{name}", shape


def _block_shapes(config: ModelConfig, width: int) -> Iterator[tuple[str, Shape]]:
    hidden = config.hidden_size
    head_width = hidden // config.num_attention_heads
    queries = head_width * config.num_attention_heads
    keys = head_width * config.num_key_value_heads
    linear = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (width, hidden),
        "mlp.up_proj": (width, hidden),
        "mlp.down_proj": (hidden, width),
    }
    for name, shape in linear.items():
        yield f"{name}.weight", shape
        if config.bias:
            yield f"{name}.bias", shape[:1]
    yield "input_layernorm.weight", (hidden,)
    yield "post_attention_layernorm.weight", (hidden,)
