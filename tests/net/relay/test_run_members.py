"""Whom a relay serves that belongs to no run: who has a record, read rarely, until it expires."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from psyche_p2p.clock import ManualClock
from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import PeerId, RunId, Signature, Tier
from psyche_p2p.net.records import FoundPeer
from psyche_p2p.net.relay.run_members import MAX_RUNS, RunMembers
from psyche_p2p.wire import PeerRecord
from tests.net.relay.relays import CALLER, HIDDEN, RUN

NOW_MS = 1_700_000_000_000
LIFE_S = 300.0


class Records:
    """A DHT's answers, counted."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_MS)
        self.present: dict[RunId, set[PeerId]] = {RUN: {HIDDEN.peer_id}}
        self.looks = 0
        self.is_silent = False
        self.members = RunMembers(self.lookup, self.clock)

    async def lookup(self, run_id: RunId) -> Mapping[PeerId, FoundPeer]:
        self.looks += 1
        if self.is_silent:
            raise Unavailable("the DHT is silent")
        record = PeerRecord(1, (), Tier(0), (), (), b"", Signature(bytes(64)))
        expires_at_s = self.clock.time_ms() / 1000 + LIFE_S
        present = self.present.get(run_id, set())
        return {peer: FoundPeer(peer, record, (), expires_at_s) for peer in present}

    def look(self, run_id: RunId = RUN) -> None:
        asyncio.run(self.members.look_again(run_id))


def test_who_has_a_record_is_served_until_it_expires() -> None:
    records = Records()
    assert not records.members.is_member(RUN, HIDDEN.peer_id)
    records.look()
    assert records.members.is_member(RUN, HIDDEN.peer_id)
    assert not records.members.is_member(RUN, CALLER.peer_id)
    assert not records.members.is_member(RunId(b"o" * 32), HIDDEN.peer_id)
    records.clock.advance_ms(int(1000 * LIFE_S) + 1)
    assert not records.members.is_member(RUN, HIDDEN.peer_id)


def test_a_search_that_fails_or_misses_someone_takes_nobody_away() -> None:
    records = Records()
    records.look()
    records.clock.advance_ms(10_000)
    records.present[RUN] = {CALLER.peer_id}
    records.look()
    records.is_silent = True
    records.clock.advance_ms(10_000)
    records.look()
    assert all(records.members.is_member(RUN, one.peer_id) for one in (HIDDEN, CALLER))


def test_a_crowd_of_invented_runs_costs_few_searches_and_hinders_no_other() -> None:
    records = Records()
    records.look()
    for index in range(1000):
        records.look(RunId(index.to_bytes(32, "big")))
    assert records.looks < 30
    records.clock.advance_ms(int(1000 * LIFE_S) + 1)
    records.look()
    assert records.members.is_member(RUN, HIDDEN.peer_id)
    for _ in range(1000):
        records.look()
    assert records.looks < 40


def test_only_so_many_runs_are_remembered() -> None:
    records = Records()
    runs = [RunId(index.to_bytes(32, "big")) for index in range(MAX_RUNS + 5)]
    for run_id in runs:
        records.present[run_id] = {HIDDEN.peer_id}
        records.look(run_id)
        records.clock.advance_ms(10_000)
    served = [run_id for run_id in runs if records.members.is_member(run_id, HIDDEN.peer_id)]
    assert len(served) <= MAX_RUNS
    assert runs[-1] in served
