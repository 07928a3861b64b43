"""Blocks: what follows a state and what does not, and that a refusal changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from psyche_p2p.coordinator import (
    apply,
    block_hash,
    decode_command,
    encode_command,
    encode_state,
    next_seed,
    proposer_order,
    state_root,
    validate,
)
from psyche_p2p.errors import Rejected
from psyche_p2p.identity import Identity
from psyche_p2p.ids import (
    BlobHash,
    BlockHash,
    Height,
    PeerId,
    Signature,
    StateRoot,
    View,
)
from psyche_p2p.wire import Block, Phase
from psyche_p2p.wire.commands import OpenEpoch
from tests.coordinator.world import World, identity, make_config


def next_block() -> tuple[World, Block]:
    world = World.start(make_config())
    world.wait(2)
    return world, world.propose([OpenEpoch(world.state.epoch)])


def test_a_block_moves_the_chain_on() -> None:
    world, block = next_block()
    after = apply(world.state, block)
    assert (after.height, after.block_hash) == (1, block_hash(block))
    assert (after.time_ms, after.seed) == (block.time_ms, block.seed)
    assert state_root(after) == block.state_root
    assert validate(world.state, block) == ()
    assert apply(world.state, block) == after


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"height": Height(2)}, "height 2 does not follow 0"),
        ({"prev_hash": BlockHash(bytes(32))}, "it follows block"),
        ({"time_ms": 1}, "before the last block's"),
        ({"commands": ()}, "0 commands"),
        ({"commands": (b"",) * 257}, "257 commands"),
        ({"commands": (b"junk",)}, "not a command"),
        ({"view": View(1)}, "view 1 is"),
        ({"proposer": PeerId(identity(40).peer_id)}, "proposed it"),
        ({"seed": BlobHash(bytes(32))}, "not the hash of its seed signature"),
        ({"seed_signature": Signature(bytes(64))}, "did not sign the previous seed"),
        ({"state_root": StateRoot(bytes(32))}, "the block ends in state"),
        ({"time_ms": 2**63 - 1}, "the block ends in state"),
    ],
)
def test_a_block_that_does_not_follow(changes: dict[str, Any], reason: str) -> None:
    world, block = next_block()
    before = encode_state(world.state)
    changed = replace(block, **changes)
    assert any(reason in fault for fault in validate(world.state, changed))
    with pytest.raises(Rejected):
        apply(world.state, changed)
    assert encode_state(world.state) == before


def test_a_block_whose_last_command_is_refused_changes_nothing() -> None:
    world, block = next_block()
    twice = replace(block, commands=block.commands * 2)
    with pytest.raises(Rejected, match="the run is in WARMUP"):
        apply(world.state, twice)
    assert world.state.phase is Phase.WAITING_FOR_MEMBERS


def test_the_seed_signature_is_bound_to_run_height_and_seed() -> None:
    world, block = next_block()
    proposer: Identity = world.people[block.proposer]
    for message in (
        bytes(32) + (1).to_bytes(8, "little") + world.state.seed,
        world.run_id + (2).to_bytes(8, "little") + world.state.seed,
        world.run_id + (1).to_bytes(8, "little") + bytes(32),
        world.run_id + world.state.seed,
    ):
        signature = proposer.sign("seed", message)
        seed = next_seed(world.state.seed, signature)
        faults = validate(world.state, replace(block, seed=seed, seed_signature=signature))
        assert faults == ("its proposer did not sign the previous seed",)


def test_every_view_has_its_proposer_and_they_take_turns() -> None:
    world, _ = next_block()
    order = proposer_order(world.state)
    for view in range(9):
        block = world.propose([OpenEpoch(world.state.epoch)], view=view)
        assert block.proposer == order[view % 4]
        assert validate(world.state, block) == ()


def test_commands_travel_in_one_form_only() -> None:
    data = encode_command(OpenEpoch(World.start(make_config()).state.epoch))
    decode_command(data)
    for damaged in (b"", data + b"\0", data[:-1], b"\x08\x63", b"\x08\x04\x12\x02\x08\x00"):
        if damaged != data:
            with pytest.raises(Rejected, match="not a command"):
                decode_command(damaged)
