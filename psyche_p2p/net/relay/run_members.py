"""Who may use a relay that belongs to no run: whoever has a record of the run in the DHT.

The records are signed and expire. Anyone can write one, so this keeps nobody out who is determined;
it names who is there, and the relay's limits bound what they can take.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

from psyche_p2p.clock import Clock
from psyche_p2p.errors import PsycheError
from psyche_p2p.ids import PeerId, RunId, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.limits import CallerBuckets, TokenBucket
from psyche_p2p.net.records import FoundPeer

REFRESH_S = 30.0
FORGET_S = 600.0
MAX_RUNS = 64
MAX_PEERS_PER_RUN = 1024
_LOOKS_PER_S, _LOOKS_BURST = 1.0, 3.0
_NEW_RUNS_PER_S, _NEW_RUNS_BURST = 2.0, 16.0
_log = get_logger(__name__)
Lookup = Callable[[RunId], Awaitable[Mapping[PeerId, FoundPeer]]]


class RunMembers:
    """The peers of the runs that were asked about, kept up by `run`."""

    def __init__(self, lookup: Lookup, clock: Clock) -> None:
        self._lookup = lookup
        self._clock = clock
        self._expiries_s: OrderedDict[RunId, dict[PeerId, float]] = OrderedDict()
        self._asked_s: dict[RunId, float] = {}
        self._looks = CallerBuckets(_LOOKS_PER_S, _LOOKS_BURST)
        self._new_runs = TokenBucket(_NEW_RUNS_PER_S, _NEW_RUNS_BURST)

    def is_member(self, run_id: RunId, peer: PeerId) -> bool:
        """Whether the peer's newest record, as far as it was read, has not expired."""
        known = self._expiries_s.get(run_id)
        if known is None:
            return False
        self._asked_s[run_id] = self._clock.monotonic_s()
        return known.get(peer, 0.0) > self._clock.time_ms() / 1000

    async def look_again(self, run_id: RunId) -> None:
        """Read the run's records, unless that was done too often lately."""
        now = self._clock.monotonic_s()
        if run_id not in self._expiries_s and not self._new_runs.try_take(1, now):
            return  # a crowd of invented runs costs few searches; those that are known go on
        if self._looks.of(run_id.hex()).try_take(1, now):
            await self._read(run_id)

    async def run(self) -> None:
        """Read again, now and then, about every run that somebody still asks about."""
        while True:
            await asyncio.sleep(REFRESH_S)
            now = self._clock.monotonic_s()
            for run_id in list(self._expiries_s):
                if now - self._asked_s.get(run_id, now) > FORGET_S:
                    self._forget(run_id)
                else:
                    await self._read(run_id)

    async def _read(self, run_id: RunId) -> None:
        try:
            found = await self._lookup(run_id)
        except PsycheError as error:
            _log.debug("a run's members cannot be read", run=short_id(run_id), cause=str(error))
            return
        if not found:
            return
        now_s = self._clock.time_ms() / 1000
        known = self._expiries_s.pop(run_id, {})
        known |= {peer: one.expires_at_s for peer, one in found.items()}
        living = [(peer, expiry_s) for peer, expiry_s in known.items() if expiry_s > now_s]
        self._expiries_s[run_id] = dict(living[-MAX_PEERS_PER_RUN:])
        self._asked_s.setdefault(run_id, self._clock.monotonic_s())
        if len(self._expiries_s) > MAX_RUNS:
            self._forget(next(iter(self._expiries_s)))

    def _forget(self, run_id: RunId) -> None:
        self._expiries_s.pop(run_id, None)
        self._asked_s.pop(run_id, None)
