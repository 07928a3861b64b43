"""A visitor checks a log once: the next look goes on where the last one ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from psyche_p2p.clock import SystemClock
from psyche_p2p.config import run_id
from psyche_p2p.coordinator import State
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.identity import Identity
from psyche_p2p.ids import Height
from psyche_p2p.net.daemon import Daemon, DaemonConfig
from psyche_p2p.net.discovery import Discovery
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.node.bookmarks import Bookmarks
from psyche_p2p.node.bulk_plane import Told
from psyche_p2p.node.visiting import Visitor
from psyche_p2p.wire import DecidedBlock
from tests.coordinator.recorded import Recorded
from tests.coordinator.world import make_config
from tests.net.builders import joiner_client, make_person, serve_joiners, serve_members
from tests.net.log_sources import BlockList
from tests.node.doors import Doors

CONFIG = make_config(run={"total_rounds": 20})
RECORDED, OTHER = Recorded(CONFIG), Recorded(make_config(run={"total_rounds": 21}))
HALF = len(RECORDED.decided) // 2
HOST = make_person("host")


class NotedBlocks(BlockList):
    """Knows from where on it was read."""

    first = 0

    def blocks(self, first: Height, count: int) -> Sequence[DecidedBlock]:
        self.first = min(self.first or first, first)
        return super().blocks(first, count)


def look(folder: Path, bookmarks: Path, run: Recorded, blocks: int) -> tuple[State | None, int]:
    """Where the run stands when it has so many blocks, and the first that had to be fetched."""
    config, log = run.head.config, NotedBlocks(run.decided[:blocks])

    async def play() -> State | None:
        told = Told(config, ParameterOffers(SystemClock()))
        told.head, told.log, told.height = run.head, log, Height(blocks)
        daemon = Daemon(DaemonConfig(Identity.generate()))
        async with (
            serve_members(HOST, folder, []) as host,
            serve_joiners(host, [], described=told, log=log) as joiners,
            joiner_client() as client,
        ):
            visitor = Visitor(
                run_id(config),
                config,
                daemon,
                Discovery(daemon, ()),
                client,
                Doors([host.contact(joiners.ports[0])]),
                Bookmarks(bookmarks),
            )
            return await visitor.look()

    return asyncio.run(play()), log.first


def test_what_was_checked_is_not_fetched_again(tmp_path: Path) -> None:
    store, bookmarks = tmp_path / "store", tmp_path / "home" / "bookmarks"
    state, first = look(store, bookmarks, RECORDED, HALF)
    assert state is not None
    assert (state.height, first) == (HALF, 1)
    state, first = look(store, bookmarks, RECORDED, len(RECORDED.decided))
    assert (state, first) == (RECORDED.world.state, HALF + 1)
    assert look(store, bookmarks, RECORDED, HALF)[0] == state, "what was decided stays decided"


def test_another_run_has_its_own_bookmark(tmp_path: Path) -> None:
    look(tmp_path / "store", tmp_path, RECORDED, HALF)
    state, first = look(tmp_path / "store", tmp_path, OTHER, HALF)
    assert state is not None
    assert (state.run_id, first) == (run_id(OTHER.head.config), 1)


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:0]],
    ids=["short", "changed", "empty"],
)
def test_a_damaged_bookmark_is_not_used(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    bookmarks = tmp_path / "bookmarks"
    look(tmp_path / "store", bookmarks, RECORDED, HALF)
    (bookmark,) = bookmarks.iterdir()
    bookmark.write_bytes(spoil(bookmark.read_bytes()))
    state, first = look(tmp_path / "store", bookmarks, RECORDED, HALF)
    assert state is not None
    assert (state.height, first) == (HALF, 1)


def test_a_state_that_nobody_decided_gets_no_further(tmp_path: Path) -> None:
    """It is shown, as our own disk said so; but no block is taken that does not follow it."""
    forged = Recorded(make_config(run={"total_rounds": 20}, members={"max_members": 9}))
    state = forged.world.state
    head = LogHead(forged.head.config, RECORDED.head.genesis, RECORDED.head.founding)
    Bookmarks(tmp_path / "bookmarks").keep(head, state)
    found, first = look(tmp_path / "store", tmp_path / "bookmarks", RECORDED, HALF)
    assert found is not None
    assert (found.height, found.run_id, first) == (HALF, run_id(CONFIG), 1)


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for _ in range(2):
        state, first = look(tmp_path / "store", tmp_path / "file" / "bookmarks", RECORDED, HALF)
        assert state is not None
        assert (state.height, first) == (HALF, 1)
