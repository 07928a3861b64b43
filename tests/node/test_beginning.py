"""What a peer would begin a run with, and what it is refused for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from psyche_p2p.errors import ConfigError, ModelError
from psyche_p2p.ids import SchemaHash
from psyche_p2p.model.initial_values import initial_roots
from psyche_p2p.node.beginning import find_beginnings, require_checkpoint
from psyche_p2p.train.messages import Ready
from tests.coordinator.world import make_config, param_roots

SCHEMA = SchemaHash(b"s" * 32)
FIRST = tuple(root.hex() for root in param_roots(7))
NEW = make_config()
GOES_ON = make_config(beginning={"param_root": FIRST[-1], "round": 7})


def ready(**changes: Any) -> Ready:
    values: dict[str, Any] = {
        "device": "cpu",
        "precision": "float32",
        "parameters": 1,
        "schema_hash": SCHEMA.hex(),
        "data_manifest": "dd" * 32,
        "roots": FIRST[:1],
        "memory_bytes": 1,
        "seconds": 1.0,
        "first_roots": (),
    }
    return Ready(**values | changes)


def test_a_new_run_begins_with_what_its_seed_draws() -> None:
    found = asyncio.run(find_beginnings(NEW, ready(), SCHEMA))
    assert found is not None
    assert found.param_roots == initial_roots(NEW.model, NEW.run.seed)
    assert asyncio.run(find_beginnings(NEW, None, SCHEMA)) is None  # a witness


def test_a_run_that_goes_on_begins_with_the_checkpoint_and_is_founded_by_who_has_it_whole() -> None:
    found = asyncio.run(find_beginnings(GOES_ON, ready(first_roots=FIRST), SCHEMA))
    assert found is not None
    assert found.param_roots == param_roots(7)
    for less in ((), FIRST[:2]):
        assert asyncio.run(find_beginnings(GOES_ON, ready(first_roots=less), SCHEMA)) is None


def test_another_checkpoint_is_refused_with_both_roots() -> None:
    require_checkpoint(GOES_ON, ready(first_roots=FIRST))
    require_checkpoint(GOES_ON, ready())
    other = tuple(root.hex() for root in param_roots(8))
    with pytest.raises(ModelError, match=f"root is {other[-1]}, run test begins with {FIRST[-1]}"):
        require_checkpoint(GOES_ON, ready(first_roots=other))


def test_a_checkpoint_for_a_new_run_is_refused() -> None:
    require_checkpoint(NEW, ready())
    with pytest.raises(ConfigError, match="seed draws, not with a checkpoint; make a run that"):
        require_checkpoint(NEW, ready(first_roots=FIRST))
