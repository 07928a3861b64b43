"""The schema hash: equal for every tier, different for every real difference."""

from __future__ import annotations

from typing import Any

import pytest

from psyche_p2p.model.schema import model_schema, schema_differences, schema_hash
from tests.model.configs import tiny_config

BASE = schema_hash(model_schema(tiny_config()))


def test_the_hash_is_part_of_the_protocol() -> None:
    assert BASE.hex() == GOLDEN_HASH


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "nanogpt"},
        {"vocab_size": 62},
        {"hidden_size": 64},
        {"intermediate_size": 128},
        {"num_layers": 3},
        {"num_attention_heads": 2},
        {"num_key_value_heads": 4},
        {"max_seq_len": 64},
        {"activation": "relu_squared"},
        {"bias": True},
        {"tie_word_embeddings": True},
        {"rope_theta": 10001.0},
        {"rms_norm_eps": 1e-6},
    ],
)
def test_every_real_difference_changes_it_and_is_named(change: dict[str, Any]) -> None:
    changed = model_schema(tiny_config(**change))
    assert schema_hash(changed) != BASE
    differences = [key for key, _, _ in schema_differences(model_schema(tiny_config()), changed)]
    assert f"config.{next(iter(change))}" in differences


@pytest.mark.parametrize("change", [{"max_tier": 0}, {"init_std": 0.01}])
def test_what_does_not_change_the_model_does_not_change_it(change: dict[str, Any]) -> None:
    assert schema_hash(model_schema(tiny_config(**change))) == BASE


def test_the_type_of_a_tensor_is_a_difference() -> None:
    other = model_schema(tiny_config(), {"lm_head.weight": "bfloat16"})
    assert schema_differences(model_schema(tiny_config()), other) == [
        ("tensor.lm_head.weight", "float32[61, 32]", "bfloat16[61, 32]")
    ]


def test_a_tensor_only_one_side_has_is_a_difference() -> None:
    tied = model_schema(tiny_config(tie_word_embeddings=True))
    differences = schema_differences(model_schema(tiny_config()), tied)
    assert ("tensor.lm_head.weight", "float32[61, 32]", "(none)") in differences


GOLDEN_HASH = "d14f401470052efb7b560f0f3f8c686a682796cdbf4067aa13b60dc5f85d1115"
