"""Golden vectors: what another implementation has to reproduce bit for bit (docs/protocol.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from psyche_p2p.config import ModelConfig
from psyche_p2p.data.permutation import Permutation
from psyche_p2p.ids import Tier
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.param_root import ParamTree
from psyche_p2p.model.schema import model_schema, schema_hash

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
CONFIG = ModelConfig(**VECTORS["model"])


def test_schema() -> None:
    schema = model_schema(CONFIG)
    assert dict(schema) == VECTORS["schema"]
    assert schema_hash(schema).hex() == VECTORS["schema_hash"]


def test_first_weights() -> None:
    state = initial_state(CONFIG, VECTORS["seed"])
    for name, expected in VECTORS["first_weights_f32_be"].items():
        assert state[name].flatten()[:4].numpy().astype(">f4").tobytes().hex() == expected


def test_param_roots() -> None:
    tree = ParamTree(CONFIG)
    tree.update(initial_state(CONFIG, VECTORS["seed"]))
    for tier, expected in VECTORS["param_roots"].items():
        assert tree.root(Tier(int(tier))).hex() == expected
    for tier, expected in VECTORS["group_roots"].items():
        assert tree.group_root(Tier(int(tier))).hex() == expected


def test_permutation() -> None:
    wanted = VECTORS["permutation"]
    permutation = Permutation(wanted["size"], wanted["seed"], wanted["label"])
    assert [permutation[index] for index in range(8)] == wanted["first"]
