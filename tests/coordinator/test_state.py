"""The state as bytes and back, in every phase, and its root."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.coordinator import (
    State,
    decode_state,
    encode_state,
    genesis_state,
    state_root,
)
from psyche_p2p.errors import Rejected, WireError
from psyche_p2p.ids import BlockHash, RoundIndex, RunId, SchemaHash
from psyche_p2p.wire import Phase
from psyche_p2p.wire.records import StateRecord
from tests.coordinator.world import (
    START_MS,
    World,
    identity,
    make_config,
    make_genesis,
    make_join,
    param_roots,
)

CONFIG = make_config(
    run={"total_rounds": 4, "owner": identity(60).peer_id},
    distillation={"enabled": True, "targets_wait_s": 30.0},
    verification={"verification_percent": 50},
)


def states() -> Iterator[State]:
    joins = {index: make_join(tier=index % 3) for index in range(1, 7)}
    world = World.start(CONFIG, joins)
    yield world.state
    for phase in (Phase.WARMUP, Phase.TRAIN, Phase.COOLDOWN, Phase.FINISHED):
        world.run_until(phase)
        yield world.state


STATES = list(states())


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.phase.name)
def test_bytes_and_back(state: State) -> None:
    again = decode_state(encode_state(state), CONFIG)
    assert again == state
    assert state_root(again) == state_root(state)


def test_the_root_covers_every_field_but_the_blocks_own_hash() -> None:
    """Take each field from other states: the root changes with every one."""
    state = STATES[2]
    odd = replace(
        state,
        run_id=RunId(bytes(32)),
        schema_hash=SchemaHash(bytes(32)),
        is_ending=True,
        is_pause_pending=True,
        owner_nonce=1,
        cold_since_round=RoundIndex(1),
        members=state.members[1:],
        points_forfeited=1,
    )
    covered = set()
    for field in fields(StateRecord):
        for other in (*STATES, odd):
            value = getattr(other, field.name)
            if value != getattr(state, field.name):
                changed = replace(state, **{field.name: value})
                assert (state_root(changed) != state_root(state)) == (field.name != "block_hash")
                covered.add(field.name)
    assert covered == {field.name for field in fields(StateRecord)}


def test_the_block_hash_is_not_part_of_the_root() -> None:
    state = STATES[1]
    assert state_root(replace(state, block_hash=BlockHash(bytes(32)))) == state_root(state)


def test_another_runs_state_is_refused() -> None:
    with pytest.raises(Rejected, match="another run"):
        decode_state(encode_state(STATES[2]), make_config())


@given(st.data())
def test_damaged_bytes_are_refused_or_have_another_root(data: st.DataObject) -> None:
    state = STATES[2]
    whole = bytearray(encode_state(state))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    try:
        damaged = decode_state(bytes(whole), CONFIG)
    except (WireError, Rejected):
        return
    assert state_root(damaged) != state_root(state) or damaged.block_hash != state.block_hash


@given(st.binary(max_size=300))
def test_junk_is_not_a_state(junk: bytes) -> None:
    with pytest.raises((WireError, Rejected)):
        decode_state(junk, CONFIG)


def test_a_run_that_goes_on_counts_on_from_where_the_other_stopped() -> None:
    first = param_roots(7)
    beginning = {"param_root": first[-1].hex(), "round": 7, "sample": 168}
    config = make_config(beginning=beginning, schedule={"cold_start_warmup_rounds": 3})
    with pytest.raises(Rejected, match="the run begins with param root"):
        genesis_state(config, make_genesis(config, {1: make_join()}))
    genesis = replace(make_genesis(config, {1: make_join()}), param_roots=first)
    state = genesis_state(config, genesis)
    assert (state.next_round, state.closed_count, state.param_round) == (7, 7, 7)
    assert (state.data_index, state.cold_since_round) == (168, 7)
    world = World(state, START_MS, {identity(1).peer_id: identity(1)})
    world.run_until(Phase.TRAIN)
    opened = world.state.open_rounds[0]
    assert (opened.round, opened.slots[0].batch.start) == (7, 168)
    world.run_until(Phase.FINISHED)
    assert world.settled_rounds() == list(range(7, 20))
