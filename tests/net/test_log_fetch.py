"""The log arrives whole and checked, whatever some of its sources do: on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from psyche_p2p.consensus import SignatureChecker, verify_chain
from psyche_p2p.consensus.run import RunApplication
from psyche_p2p.coordinator import Pool
from psyche_p2p.coordinator.logfile import begin_log
from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import Height, PeerId, short_id
from psyche_p2p.net.bulk_client import Contact, Patience
from psyche_p2p.net.log_fetch import BlockFetched, LogEvent, SourceDropped, fetch_log
from psyche_p2p.net.log_plan import RANGE_BLOCKS
from psyche_p2p.wire import DecidedBlock
from tests.coordinator.recorded import Recorded
from tests.coordinator.world import make_config
from tests.net import log_sources
from tests.net.builders import (
    Host,
    joiner_client,
    make_person,
    member_client,
    serve_joiners,
    serve_members,
)
from tests.net.log_sources import BlockList, LogTrick

ALICE = make_person("alice")
SOURCES = [make_person(f"source {number}") for number in range(3)]
RECORDED = Recorded(make_config(run={"total_rounds": 120}))
BLOCKS = RECORDED.decided
HASTY = Patience(answer_s=20.0, stall_s=0.3)


@asynccontextmanager
async def serving(folder: Path, *tricks: LogTrick | None) -> AsyncIterator[list[Host]]:
    """A member with the log for each trick (None: honest)."""
    async with AsyncExitStack() as stack:
        hosts = []
        for person, trick in zip(SOURCES, tricks, strict=False):
            make_service = None if trick is None else log_sources.serving_log(BLOCKS, trick)
            place, log = folder / person.peer[-8:], BlockList(BLOCKS)
            serve = serve_members(person, place, [ALICE], log=log, make_service=make_service)
            hosts.append(await stack.enter_async_context(serve))
        yield hosts


class Newcomer:
    """Follows the log from genesis by certificates, as a peer does that has only the genesis."""

    def __init__(self) -> None:
        state = begin_log(RECORDED.head)
        self._checker = SignatureChecker(state.run_id)
        self.app = RunApplication(state, PeerId(""), _never_sign, Pool, clock_offset_ms=0)
        self.events: list[LogEvent] = []
        self.taken: list[DecidedBlock] = []

    def check(self, decided: DecidedBlock) -> None:
        verify_chain(self.app, [decided], self._checker)

    async def fetch(self, contacts: list[Contact], patience: Patience = HASTY) -> None:
        async with member_client(ALICE, patience) as client:
            first = self.app.height
            async for decided in fetch_log(client, contacts, first, self.check, self.events.append):
                self.taken.append(decided)

    def require_everything(self) -> None:
        assert [one.block for one in self.taken] == [one.block for one in BLOCKS]
        assert self.app.state == RECORDED.world.state

    def dropped(self) -> dict[PeerId, SourceDropped]:
        return {one.peer: one for one in self.events if isinstance(one, SourceDropped)}


def _never_sign(_context: str, _message: bytes) -> NoReturn:
    raise AssertionError("a newcomer signs nothing")


def fetch_from(folder: Path, *tricks: LogTrick | None) -> Newcomer:
    """A newcomer fetches everything from these."""

    async def play() -> Newcomer:
        newcomer = Newcomer()
        async with serving(folder, *tricks) as hosts:
            await newcomer.fetch([host.contact() for host in hosts])
        return newcomer

    newcomer = asyncio.run(play())
    newcomer.require_everything()
    return newcomer


def test_the_log_comes_from_several_at_once_with_progress(tmp_path: Path) -> None:
    sent: list[list[int]] = [[], [], []]
    newcomer = fetch_from(tmp_path, *(log_sources.counts(one) for one in sent))
    assert all(sent)
    fetched = [one for one in newcomer.events if isinstance(one, BlockFetched)]
    assert [one.height for one in fetched] == [one.block.height for one in BLOCKS]
    assert newcomer.dropped() == {}


def test_a_peer_that_fell_behind_goes_on_where_it_was(tmp_path: Path) -> None:
    sent: list[int] = []

    async def play() -> None:
        newcomer = Newcomer()
        for decided in BLOCKS[:50]:
            newcomer.check(decided)
        async with serving(tmp_path, log_sources.counts(sent)) as hosts:
            await newcomer.fetch([hosts[0].contact()])
        assert newcomer.app.state == RECORDED.world.state

    asyncio.run(play())
    assert sent == list(range(51, len(BLOCKS) + 1))


def test_a_joiner_without_a_certificate_fetches_it(tmp_path: Path) -> None:
    async def play() -> None:
        newcomer = Newcomer()
        async with (
            serving(tmp_path, None) as hosts,
            serve_joiners(hosts[0], [], log=BlockList(BLOCKS)) as joiners,
            joiner_client() as client,
        ):
            contact = hosts[0].contact(joiners.ports[0])
            async for _ in fetch_log(client, [contact], Height(1), newcomer.check):
                pass
        assert newcomer.app.state == RECORDED.world.state

    asyncio.run(play())


LIES = {
    "forged": (log_sources.forges_from(1), "did not sign"),
    "forged later": (log_sources.forges_from(80), "did not sign"),
    "gap": (log_sources.skips(1, *range(40, len(BLOCKS), RANGE_BLOCKS)), "in the place of block"),
    "too many": (log_sources.exceeds_by(1), "more than the"),
    "far too many": (log_sources.exceeds_by(80), "more than the"),
}


@pytest.mark.parametrize("lie", LIES)
def test_two_liars_of_three_change_nothing_and_are_named(lie: str, tmp_path: Path) -> None:
    trick, reason = LIES[lie]
    honest: list[int] = []
    newcomer = fetch_from(tmp_path, trick, log_sources.counts(honest), trick)
    assert honest
    dropped = newcomer.dropped()
    assert SOURCES[1].peer not in dropped
    assert dropped
    for event in dropped.values():
        assert event.has_lied
        assert reason in event.reason


@pytest.mark.parametrize("lie", LIES)
def test_when_everyone_lies_the_error_names_everyone(lie: str, tmp_path: Path) -> None:
    trick, reason = LIES[lie]

    async def play() -> None:
        newcomer = Newcomer()
        async with serving(tmp_path, trick, trick) as hosts:
            with pytest.raises(Unavailable, match=reason) as caught:
                await newcomer.fetch([host.contact() for host in hosts])
        for host in hosts:
            assert short_id(host.person.peer) in str(caught.value)
        assert [one.block for one in newcomer.taken] == [
            one.block for one in BLOCKS[: len(newcomer.taken)]
        ]

    asyncio.run(play())


@pytest.mark.parametrize("height", [1, 40, 100])
def test_a_source_that_stalls_holds_up_nothing(height: int, tmp_path: Path) -> None:
    fetch_from(tmp_path, log_sources.stalls_at(height), None)


def test_a_source_that_never_answers_is_dropped_and_named(tmp_path: Path) -> None:
    newcomer = fetch_from(tmp_path, log_sources.is_silent(), None)
    ((peer, event),) = newcomer.dropped().items()
    assert peer == SOURCES[0].peer
    assert "nothing moved" in event.reason
    assert not event.has_lied


@pytest.mark.parametrize("height", [1, 10, 33])
def test_a_source_that_dies_in_the_middle_is_replaced(height: int, tmp_path: Path) -> None:
    async def play() -> None:
        newcomer = Newcomer()
        tasks: list[asyncio.Task[None]] = []

        def kill() -> None:
            tasks.append(asyncio.create_task(hosts[0].server.stop_now()))

        async with serving(tmp_path, log_sources.dies_at(height, kill), None) as hosts:
            await newcomer.fetch([host.contact() for host in hosts])
            await asyncio.gather(*tasks)
        newcomer.require_everything()

    asyncio.run(play())


def test_nobody_to_ask_is_an_error(tmp_path: Path) -> None:
    async def play() -> None:
        newcomer = Newcomer()
        with pytest.raises(Unavailable, match="nobody is known to have it"):
            await newcomer.fetch([])
        absent = Contact(SOURCES[0].pinned, "127.0.0.1:1")
        with pytest.raises(Unavailable, match="cannot be reached"):
            await newcomer.fetch([absent])
        assert list(newcomer.dropped()) == [SOURCES[0].peer]

    asyncio.run(play())


def test_leaving_early_stops_the_asking(tmp_path: Path) -> None:
    async def play() -> None:
        newcomer, before = Newcomer(), asyncio.all_tasks()
        async with (
            serving(tmp_path, None, log_sources.stalls_at(1)) as hosts,
            member_client(ALICE) as client,
        ):
            contacts = [host.contact() for host in hosts]
            fetching = fetch_log(client, contacts, Height(1), newcomer.check)
            async with aclosing(fetching):
                async for decided in fetching:
                    assert decided.block.height == 1
                    break
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(play(), 30))
