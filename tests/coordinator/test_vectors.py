"""The same answers on every machine and in every version: golden vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from psyche_p2p.config import decode_run_config
from psyche_p2p.coordinator import apply, encode_state, genesis_state, state_root
from psyche_p2p.wire import Block, decode
from psyche_p2p.wire.commands import Genesis
from tests.coordinator.vectors import PATH, compute_vectors

STORED: dict[str, Any] = json.loads(PATH.read_text())


@pytest.fixture(scope="module")
def computed() -> Any:
    return json.loads(json.dumps(compute_vectors()))


@pytest.mark.parametrize("name", list(STORED))
def test_nothing_has_changed(name: str, computed: Any) -> None:
    assert computed[name] == STORED[name]


@pytest.mark.parametrize("name", ["run", "run_with_bad_targets"])
def test_the_stored_run_replays_from_its_bytes_alone(name: str) -> None:
    run = STORED[name]
    config = decode_run_config(bytes.fromhex(run["config"]), "vectors")
    state = genesis_state(config, decode(Genesis, bytes.fromhex(run["genesis"])))
    assert encode_state(state).hex() == run["genesis_state"]
    for step in run["blocks"]:
        state = apply(state, decode(Block, bytes.fromhex(step["block"])))
        assert state_root(state).hex() == step["state_root"]
        assert state.phase.name == step["phase"]
    assert encode_state(state).hex() == run["final_state"]
