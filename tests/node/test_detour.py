"""A peer that nobody can dial: which relay it takes, and what it does when that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from psyche_p2p.ids import PeerId, RunId, Signature, Tier
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.client import LocalDoors, RelayUser
from psyche_p2p.net.relay.probe import PROBE_BYTES, ProbeVerdict
from psyche_p2p.net.relay.server import RelayServer
from psyche_p2p.node import detour as detour_module
from psyche_p2p.node.detour import Detour
from psyche_p2p.wire import PeerRecord
from tests.net.relay.relays import CALLER, HIDDEN, RELAY, RUN, STRANGER, run

RECORD = PeerRecord(
    instance=1,
    roles=(),
    tier=Tier(0),
    addresses=(),
    bulk_addresses=("192.0.2.1:4002",),
    certificate=b"",
    certificate_signature=Signature(bytes(64)),
    joiner_addresses=("192.0.2.1:4003",),
)


class Announcements:
    """The part of discovery that a detour needs; what it was told last can be waited for."""

    def __init__(self, *relays: str) -> None:
        self.relays = relays
        self.record = RECORD
        self._news = asyncio.Condition()

    async def find_relays(self) -> tuple[str, ...]:
        return self.relays

    async def revise(self, run_id: RunId, record: PeerRecord) -> None:
        assert run_id == RUN
        async with self._news:
            self.record = record
            self._news.notify_all()

    async def until_at(self, address: str) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self.record.bulk_addresses == (address,))
        assert self.record == replace(
            RECORD, bulk_addresses=(address,), joiner_addresses=(address,)
        )


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detour_module, "LOST_AFTER_S", 0.3)
    monkeypatch.setattr(detour_module, "REGISTER_S", 2.0)


@asynccontextmanager
async def relay_of(peer: PeerId, *, serves: bool = True) -> AsyncIterator[str]:
    async with RelayServer(peer, lambda *_: serves, host="127.0.0.1") as server:
        yield str(RelayAddress("127.0.0.1", server.port, peer))


@asynccontextmanager
async def going(announcements: Announcements, preferred: PeerId) -> AsyncIterator[Detour]:
    user = RelayUser(HIDDEN, RUN)
    doors = LocalDoors(1, 1)
    detour = Detour(user, announcements, RECORD, doors, None, frozenset([preferred]))
    task = asyncio.create_task(detour.run())
    yield detour
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_preferred_relay_is_taken_and_the_next_one_when_it_dies() -> None:
    async def scenario() -> None:
        async with relay_of(RELAY.peer_id) as second:
            first_relay = relay_of(STRANGER.peer_id)
            first = await first_relay.__aenter__()
            announcements = Announcements(second, first)
            async with going(announcements, STRANGER.peer_id) as detour:
                await announcements.until_at(first)
                await first_relay.__aexit__(None, None, None)
                await announcements.until_at(second)
                await detour.end()
                assert announcements.record == RECORD

    run(scenario())


def test_a_relay_that_does_not_serve_us_is_passed_over() -> None:
    async def scenario() -> None:
        async with (
            relay_of(CALLER.peer_id, serves=False) as unwilling,
            relay_of(RELAY.peer_id) as willing,
        ):
            announcements = Announcements(unwilling, willing)
            async with going(announcements, CALLER.peer_id):
                await announcements.until_at(willing)

    run(scenario())


def test_a_relay_that_no_longer_carries_enough_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detour_module, "TRY_AGAIN_S", 0.1)
    good, bad = ProbeVerdict(PROBE_BYTES, PROBE_BYTES, ""), ProbeVerdict(PROBE_BYTES, 1, "it ended")
    verdicts = {RELAY.peer_id: [good] * 3, STRANGER.peer_id: [good, bad]}

    async def try_again(_: RelayUser, relay: RelayAddress) -> ProbeVerdict:
        waiting = verdicts[relay.peer]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    monkeypatch.setattr(detour_module, "try_relay", try_again)

    async def scenario() -> None:
        async with relay_of(RELAY.peer_id) as second, relay_of(STRANGER.peer_id) as first:
            announcements = Announcements(second, first)
            async with going(announcements, STRANGER.peer_id):
                await announcements.until_at(first)
                await announcements.until_at(second)

    run(scenario())
