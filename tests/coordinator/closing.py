"""A run in the middle of training, and the ways to close its round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psyche_p2p.coordinator import (
    Signed,
)
from psyche_p2p.coordinator.pool import make_close_round
from psyche_p2p.ids import PeerId
from psyche_p2p.wire import Phase
from psyche_p2p.wire.commands import CloseRound
from psyche_p2p.wire.records import OpenRound
from tests.coordinator.world import (
    World,
    make_commitment,
    make_config,
)


def in_training(peers: int = 4, rounds: int = 0, **sections: Any) -> World:
    world = World.start(make_config(**sections), peers)
    world.run_until(Phase.TRAIN, rounds=rounds)
    return world


def head(world: World) -> OpenRound:
    opened = world.state.head_round
    assert opened is not None
    return opened


def close(world: World, **changes: Any) -> CloseRound:
    return replace(make_close_round(world.state, head(world), world.heard()), **changes)


def holding(world: World, witness: PeerId, commitments: Sequence[Signed]) -> Signed:
    held = [(one.sender, one.message) for one in commitments]
    return world.say(witness, world.attestation(head(world), held, witness))


def commitments_of(world: World) -> list[Signed]:
    opened = head(world)
    return [
        world.say(slot.trainer, make_commitment(world.state, opened, slot)) for slot in opened.slots
    ]


def points_of(world: World, peer: PeerId) -> int:
    account = world.state.find_account(peer)
    assert account is not None
    return account.epoch_points
