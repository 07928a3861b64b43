"""What the directory tells those who remember how a peer failed."""

from __future__ import annotations

from typing import Any

from psyche_p2p.ids import PeerId
from psyche_p2p.node.directory import Directory
from tests.coordinator.world import World, admit, identity, make_config, make_join

NEWCOMER = identity(30)


def directory_of(world: World, me: PeerId) -> tuple[Directory, list[PeerId]]:
    nothing: Any = None
    directory, told = Directory(world.run_id, me, nothing, nothing, nothing), list[PeerId]()
    directory.on_moved.append(told.append)
    return directory, told


def test_once_we_are_let_in_nobody_is_left_alone_for_refusing_us() -> None:
    """Members refuse the connections of everyone else."""
    world = World.start(make_config(), 4)
    directory, told = directory_of(world, NEWCOMER.peer_id)
    stranger = world.state
    directory.follow(stranger)
    assert told == []
    world.decide(admit(NEWCOMER, make_join(nonce=5), world.run_id))
    directory.follow(world.state)
    assert set(told) == {one.peer for one in world.state.members} | {NEWCOMER.peer_id}
    told.clear()
    directory.follow(world.state)
    assert told == []
    directory.follow(stranger)
    assert told == []
    directory.follow(world.state)
    assert told
