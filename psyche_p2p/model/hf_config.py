"""`config.json` of a checkpoint: Hugging Face's Llama, plus which tier the tensors are.

Every model of this package is a Llama to `transformers`: squared ReLU is its `relu2`, biases are
its `attention_bias` and `mlp_bias`. Keys of our own, which it ignores, say the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from psyche_p2p.config import ModelConfig
from psyche_p2p.config.rules import find_model_contradictions
from psyche_p2p.errors import ModelError
from psyche_p2p.ids import MAX_TIER, Tier
from psyche_p2p.model.json_file import read_json_object
from psyche_p2p.model.suffix_gate import SuffixGate
from psyche_p2p.model.tiers import tier_width

CONFIG_FILE = "config.json"
_GATE = "matformer_suffix_gate"
_MAX_BYTES = 1 << 20
_ACTIVATIONS = {"silu": "silu", "relu_squared": "relu2"}
_CURE = "use a checkpoint of a Llama-like decoder, or mend its config.json"


@dataclass(frozen=True, slots=True)
class StoredConfig:
    """What config.json says: the tier-0 form, the stored FFN width, and what it claims of tiers."""

    model: ModelConfig
    width: int
    claimed_tier: Tier | None
    names_base: bool
    suffix_gate: SuffixGate | None = None


def to_hugging_face(
    model: ModelConfig, held_tier: Tier, dtype: str, suffix_gate: SuffixGate | None = None
) -> dict[str, Any]:
    """The content of config.json for a model that holds a tier."""
    gate = {} if suffix_gate is None else {_GATE: asdict(suffix_gate)}
    return {
        **gate,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": tier_width(model, held_tier),
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "head_dim": model.hidden_size // model.num_attention_heads,
        "max_position_embeddings": model.max_seq_len,
        "hidden_act": _ACTIVATIONS[model.activation],
        "attention_bias": model.bias,
        "mlp_bias": model.bias,
        "tie_word_embeddings": model.tie_word_embeddings,
        "rope_theta": model.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "rms_norm_eps": model.rms_norm_eps,
        "initializer_range": model.init_std,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": dtype,
        "torch_dtype": dtype,
        "psyche_architecture": model.architecture,
        "matformer_tier": held_tier,
        "matformer_base_intermediate_size": model.intermediate_size,
        "matformer_max_tier": model.max_tier,
    }


def without_own_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same config.json for a model that knows of no tiers."""
    own = ("psyche_", "matformer_")
    return {key: value for key, value in values.items() if not key.startswith(own)}


def read_config(folder: Path) -> StoredConfig:
    """The checked content of a checkpoint's config.json."""
    path = folder / CONFIG_FILE
    return parse_config(read_json_object(path, _MAX_BYTES), str(path))


def parse_config(values: Mapping[str, Any], source: str) -> StoredConfig:
    """The checked content of a config.json; `source` is what errors call it."""
    try:
        _require_plain_llama(values)
        width = _integer(values, "intermediate_size")
        claimed = _optional_tier(values, "matformer_tier")
        model = _model_config(values, _base_width(values, width, claimed), claimed)
    except (ValueError, KeyError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else _first_line(error)
        raise ModelError(f"{source!r}: {reason}", _CURE) from error
    problem = next(find_model_contradictions(model), None)
    if problem is not None:
        raise ModelError(f"{source!r}: {problem}", _CURE)
    names_base = values.get("matformer_base_intermediate_size") is not None
    return StoredConfig(model, width, claimed, names_base, _suffix_gate(values, source))


def _model_config(values: Mapping[str, Any], base: int, claimed: Tier | None) -> ModelConfig:
    activation = {name: ours for ours, name in _ACTIVATIONS.items()}.get(values["hidden_act"])
    if activation is None:
        raise ValueError(f"hidden_act {values['hidden_act']!r} is not one of silu, relu2")
    max_tier = _optional_tier(values, "matformer_max_tier")
    return ModelConfig.model_validate(
        {
            "architecture": values.get("psyche_architecture", "llama"),
            "vocab_size": values["vocab_size"],
            "hidden_size": values["hidden_size"],
            "intermediate_size": base,
            "num_layers": values["num_hidden_layers"],
            "num_attention_heads": values["num_attention_heads"],
            "num_key_value_heads": values.get("num_key_value_heads")
            or values["num_attention_heads"],
            "max_seq_len": values["max_position_embeddings"],
            "max_tier": max(claimed or 0, max_tier or 0),
            "activation": activation,
            "bias": values.get("attention_bias", False),
            "tie_word_embeddings": values.get("tie_word_embeddings", False),
            "rope_theta": _rope_theta(values),
            "rms_norm_eps": values["rms_norm_eps"],
            "init_std": values.get("initializer_range", 0.02),
        }
    )


def _require_plain_llama(values: Mapping[str, Any]) -> None:
    if values.get("model_type") != "llama":
        raise ValueError(f"model_type is {values.get('model_type')!r}, not 'llama'")
    if values.get("rope_scaling") is not None:
        raise ValueError("rope_scaling is not supported")
    if values.get("attention_bias", False) != values.get("mlp_bias", False):
        raise ValueError("attention_bias and mlp_bias must be equal")
    heads, hidden = _integer(values, "num_attention_heads"), _integer(values, "hidden_size")
    head_dim = values.get("head_dim")
    if head_dim is not None and head_dim * heads != hidden:
        raise ValueError(f"head_dim {head_dim} times {heads} heads is not hidden_size {hidden}")


def _suffix_gate(values: Mapping[str, Any], source: str) -> SuffixGate | None:
    gate = values.get(_GATE)
    if gate is None:
        return None
    try:
        # as JSON, because only there an object may strictly become a dataclass
        return TypeAdapter(SuffixGate).validate_json(json.dumps(gate), strict=True)
    except ValueError as error:
        raise ModelError(f"{source!r}: {_GATE} {_first_line(error)}", _CURE) from error


def _base_width(values: Mapping[str, Any], width: int, claimed: Tier | None) -> int:
    """The tier-0 width: as stored, else from the claimed tier, else the width itself."""
    base = values.get("matformer_base_intermediate_size")
    if base is None:
        return width << (claimed or 0)
    return _integer(values, "matformer_base_intermediate_size")


def _rope_theta(values: Mapping[str, Any]) -> Any:
    parameters = values.get("rope_parameters") or {}
    if not isinstance(parameters, Mapping) or parameters.get("rope_type", "default") != "default":
        raise ValueError("rope_parameters of another type than 'default' are not supported")
    theta = parameters.get("rope_theta", values.get("rope_theta", 10000.0))
    return float(theta) if isinstance(theta, int) else theta


def _integer(values: Mapping[str, Any], key: str) -> int:
    value = values[key]
    if type(value) is not int or not 0 < value < 1 << 32:
        raise ValueError(f"{key} must be a positive integer, not {str(value)[:40]}")
    return value


def _optional_tier(values: Mapping[str, Any], key: str) -> Tier | None:
    value = values.get(key)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= MAX_TIER:
        raise ValueError(f"{key} must be a tier from 0 to {MAX_TIER}, not {str(value)[:40]}")
    return Tier(value)


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return str(error)
