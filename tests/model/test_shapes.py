"""The table of shapes against the modules themselves."""

from __future__ import annotations

from typing import Any

import pytest

from psyche_p2p.ids import Tier
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.model.transformer import empty_model
from tests.model.configs import tiny_config


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({}, 0),
        ({}, 2),
        ({"tie_word_embeddings": False}, 1),
        ({"bias": True}, 0),
        ({"num_layers": 11, "num_key_value_heads": 1}, 1),
    ],
)
def test_the_shapes_are_those_of_the_model(changes: dict[str, Any], tier: int) -> None:
    config = tiny_config(**changes)
    parameters = empty_model(config, Tier(tier)).named_parameters()
    expected = [(name, tuple(value.shape)) for name, value in sorted(parameters)]
    assert list(parameter_shapes(config, Tier(tier)).items()) == expected
