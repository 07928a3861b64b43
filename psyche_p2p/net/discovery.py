"""Who is in which run, and where: our records in the DHT, and everyone else's.

Kept up as long as it lives: records are written again at a third of their life, a restarted daemon
gets its DHT node, its connections and its records back, and bootstrap peers that were out of reach
are tried again, so that two swarms that formed apart become one as soon as they can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from typing_extensions import Self

from psyche_p2p.clock import Clock, SystemClock
from psyche_p2p.errors import ConfigError, PsycheError, RemoteError, ResourceError, Unavailable
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import PeerId, RunId, public_key_from_peer_id, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.bootstrap import Attempt, none_reached, require_clock, try_addresses
from psyche_p2p.net.control import ControlSocket, daemon_gone
from psyche_p2p.net.daemon import Daemon
from psyche_p2p.net.dht import Dht
from psyche_p2p.net.greeting import is_libp2p_at
from psyche_p2p.net.multiaddr import Multiaddr
from psyche_p2p.net.records import (
    MAX_RECORD_LIFE_S,
    RELAYS_KEY,
    RUNS_KEY,
    FoundPeer,
    FoundRun,
    RecordValidator,
    found_peer,
    found_relays,
    found_runs,
    owner_of,
    run_key,
    subkey_of,
)
from psyche_p2p.net.tasks import report_bug
from psyche_p2p.wire import PeerRecord, RelayListing, RunListing, encode

JOIN_PATIENCE_S = 10.0
LOOK_AROUND_S = 5.0
"""How often bootstrap peers and neighbours that are not connected are tried."""
NEIGHBOURS = 12
RELAY_LIFE_S = 180.0
"""How long a relay's word lasts: peers that look for one should not meet many dead ones."""
_FIRST_BACKOFF_S = 0.25
_RETRY_S = 1.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SwarmReached:
    """Connected to bootstrap peers that were out of reach before."""

    peers: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class ClockDisagrees:
    """The swarm's clock is so far ahead of ours (behind, if negative)."""

    offset_s: float


@dataclass(frozen=True, slots=True)
class IdentityShared:
    """Another process publishes records under our identity."""

    run_id: RunId


DiscoveryEvent = SwarmReached | ClockDisagrees | IdentityShared


@dataclass(frozen=True, slots=True)
class _Announcement:
    record: PeerRecord
    name: str
    life_s: float


class Discovery:
    """Our place in the DHT, inside `async with`."""

    def __init__(
        self,
        daemon: Daemon,
        bootstrap: Sequence[Multiaddr] = (),
        *,
        clock: Clock | None = None,
        on_event: Callable[[DiscoveryEvent], None] | None = None,
        look_around_s: float = LOOK_AROUND_S,
    ) -> None:
        self._daemon = daemon
        self._bootstrap = tuple(a for a in bootstrap if a.peer != daemon.peer_id)
        self._ourselves = tuple(a for a in bootstrap if a.peer == daemon.peer_id)
        self._is_seed = len(self._bootstrap) < len(bootstrap) or not bootstrap
        self._clock = clock or SystemClock()
        self._on_event = on_event
        self._look_around_s = look_around_s
        self._validator = RecordValidator(daemon.config.identity, self._clock)
        self._announcements: dict[RunId, _Announcement] = {}
        self._due_at: dict[RunId, float] = {}
        self._relay: str | None = None
        self._relay_due_at = 0.0
        self._is_client = daemon.config.is_private
        self._retired: Dht | None = None
        self._dht: Dht | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Enter the swarm: a bootstrap peer must be reached, and clocks must agree.

        A peer that is in its own bootstrap list is a seed: it may be the first.
        """
        generation = self._daemon.generation
        self._dht = await self._start_dht()
        with ExitStack() as undo:
            undo.callback(self._abandon)
            await self._require_nobody_like_us(self._ourselves)
            if self._bootstrap:  # else we are the first
                attempt = await self._join_patiently(self._dht)
                require_clock(attempt)
                await self._dht.explore()
            undo.pop_all()
        self._keeper = asyncio.create_task(self._keep(generation), name="discovery-keeper")
        self._keeper.add_done_callback(report_bug)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._abandon()

    def _abandon(self) -> None:
        for dht in (self._dht, self._retired):
            if dht is not None:
                dht.abandon()

    async def own_addresses(self) -> tuple[str, ...]:
        """Where the daemon believes it can be reached, for a record."""
        _, addresses = await self._daemon.control.identify()
        return tuple(str(address) for address in addresses)

    async def announce(
        self, run_id: RunId, record: PeerRecord, life_s: float, name: str = ""
    ) -> None:
        """Publish our record of a run, and its name, now or soon and until further notice.

        ResourceError if another process with our identity is already in the run.
        """
        await self._require_identity_free(run_id, record)
        self._announcements[run_id] = _Announcement(record, name, min(life_s, MAX_RECORD_LIFE_S))
        try:
            await self._publish(run_id)
        except Unavailable as error:  # on a busy machine, say; we look again all the time
            _log.warning("our record is not published yet", cause=str(error))

    async def revise(self, run_id: RunId, record: PeerRecord) -> None:
        """Publish another record of a run that is announced already, now or soon."""
        self._announcements[run_id] = replace(self._announcements[run_id], record=record)
        self._due_at[run_id] = 0.0
        with suppress(Unavailable):
            await self._publish(run_id)

    async def withdraw(self, run_id: RunId) -> None:
        """Publish nothing more of a run; what is out there expires."""
        self._announcements.pop(run_id, None)
        self._due_at.pop(run_id, None)

    async def announce_relay(self, address: str | None) -> None:
        """Publish where this peer relays, now or soon and until further notice; None: no more."""
        self._relay, self._relay_due_at = address, 0.0
        with suppress(Unavailable):
            await self._publish_relay()

    async def find_relays(self) -> tuple[str, ...]:
        """Addresses of relays, each written down by its owner; nobody vouches for them."""
        return found_relays(await self._require_dht().get(RELAYS_KEY))

    async def become_client(self) -> None:
        """Keep nothing for others from now on: they were found unable to reach this machine."""
        self._is_client = True
        with suppress(Unavailable):  # a node that begins again begins as a client
            former = self._require_dht()
            await former.retire()
            self._dht, self._retired = await self._start_dht(), former
            await try_addresses(self._daemon.control, self._dht, self._bootstrap, self._clock)
            await self._dht.explore()
        self._publish_all_soon()

    async def find_runs(self) -> tuple[FoundRun, ...]:
        """The runs that peers of this network say they are in, the most populous first."""
        entries = await self._require_dht().get(RUNS_KEY)
        return found_runs(value for value, _ in entries.values())

    async def lookup(self, run_id: RunId) -> dict[PeerId, FoundPeer]:
        """Everyone who is in a run, ourselves included once we have announced it."""
        found = {}
        for subkey, (value, expires_at_s) in (
            await self._require_dht().get(run_key(run_id))
        ).items():
            peer = owner_of(subkey)
            if peer is None or not isinstance(value, bytes):
                continue
            with suppress(RemoteError):
                found[peer] = found_peer(peer, value, expires_at_s)
        return found

    async def meet(self, run_id: RunId) -> None:
        """Connect to some peers of a run that we do not announce, so that our gossip gets there."""
        await self._connect_neighbours(await self.lookup(run_id))

    def _require_dht(self) -> Dht:
        if self._dht is None:
            raise daemon_gone()
        return self._dht

    async def _join_patiently(self, dht: Dht) -> Attempt:
        """Try all bootstrap addresses, again and again until one works or patience ends."""
        clock = asyncio.get_running_loop().time
        deadline, backoff_s = clock() + JOIN_PATIENCE_S, _FIRST_BACKOFF_S
        # libp2p names the true cause once, and for 5 s after that only says that it waits
        failures: tuple[PsycheError, ...] = ()
        while True:
            attempt = await try_addresses(self._daemon.control, dht, self._bootstrap, self._clock)
            if attempt.reached:
                return attempt
            if self._is_seed:
                return attempt
            failures = failures or attempt.failures
            is_hopeless = all(isinstance(f, ConfigError) for f in failures)
            if is_hopeless or clock() + backoff_s > deadline:
                raise none_reached(failures)
            await asyncio.sleep(backoff_s)
            backoff_s *= 2

    async def _keep(self, generation: int) -> None:
        """Serve one generation of the daemon after the other."""
        while True:
            stopped = asyncio.create_task(self._daemon.stopped(generation))
            upkeep = asyncio.create_task(self._keep_up())
            try:
                await asyncio.wait({stopped, upkeep}, return_when=asyncio.FIRST_COMPLETED)
                if upkeep.done():
                    upkeep.result()  # a bug: it never ends by itself
            finally:
                stopped.cancel()
                upkeep.cancel()
                await asyncio.gather(stopped, upkeep, return_exceptions=True)
            generation = await self._begin_again(generation)

    async def _begin_again(self, generation: int) -> int:
        """Replace the node of a dead daemon by one over its successor."""
        self._abandon()
        self._dht = None
        while self._dht is None:
            generation = await self._daemon.running(generation)
            with suppress(Unavailable):
                self._dht = await self._start_dht()
        self._publish_all_soon()
        return generation

    def _publish_all_soon(self) -> None:
        self._due_at = dict.fromkeys(self._announcements, 0.0)
        self._relay_due_at = 0.0

    async def _start_dht(self) -> Dht:
        """A node over the running daemon; Unavailable as soon as that dies."""
        control = self._daemon.control
        stopped = asyncio.create_task(self._daemon.stopped(self._daemon.generation))
        starting = asyncio.create_task(
            Dht.start(control.path, self._validator, is_client=self._is_client)
        )
        try:
            await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                raise daemon_gone()
            return starting.result()
        finally:
            stopped.cancel()
            starting.cancel()

    async def _keep_up(self) -> None:
        """Look around and refresh records, until the daemon dies."""
        while True:
            try:
                await self._look_around()
                for run_id in list(self._announcements):
                    await self._refresh(run_id)
                if self._clock.monotonic_s() >= self._relay_due_at:
                    await self._publish_relay()
                pause_s = self._pause_s()
            except PsycheError as error:
                _log.debug("discovery will try again", cause=str(error))
                pause_s = min(_RETRY_S, self._look_around_s)
            await asyncio.sleep(pause_s)

    def _pause_s(self) -> float:
        now = self._clock.monotonic_s()
        due_in = [due_at - now for due_at in self._due_at.values()]
        due_in += [self._relay_due_at - now] if self._relay else []
        return max(0.1, min([self._look_around_s, *due_in]))

    async def _look_around(self) -> None:
        """Reach bootstrap peers that are not connected; make two swarms one if it worked."""
        control, dht = self._daemon.control, self._require_dht()
        connected = await control.connected_peers()
        missing = [address for address in self._bootstrap if address.peer not in connected]
        if not missing:
            return
        attempt = await try_addresses(control, dht, missing, self._clock)
        if attempt.reached:
            await dht.explore()
            self._publish_all_soon()
            self._emit(SwarmReached(attempt.reached))
        try:
            require_clock(attempt)
        except ResourceError as error:
            _log.error("the clock is wrong", cause=str(error))
            self._emit(ClockDisagrees(attempt.clock_offset_s))

    async def _refresh(self, run_id: RunId) -> None:
        found = await self.lookup(run_id)
        await self._connect_neighbours(found)
        ours = found.get(self._daemon.peer_id)
        if ours and ours.record.instance != self._announcements[run_id].record.instance:
            _log.error("another process uses this identity", peer=self._daemon.peer_id)
            self._emit(IdentityShared(run_id))
        if self._clock.monotonic_s() >= self._due_at.get(run_id, 0.0) or ours is None:
            await self._publish(run_id)

    async def _publish(self, run_id: RunId) -> None:
        announcement = self._announcements[run_id]
        life_s, name = announcement.life_s, announcement.name
        if not await self._store(run_key(run_id), announcement.record, life_s):
            raise Unavailable("no peer took our record", "it is published again by itself")
        if name:
            await self._store(RUNS_KEY, RunListing(run_id, name), life_s)
        self._due_at[run_id] = self._clock.monotonic_s() + life_s / 3

    async def _publish_relay(self) -> None:
        if self._relay and await self._store(RELAYS_KEY, RelayListing(self._relay), RELAY_LIFE_S):
            self._relay_due_at = self._clock.monotonic_s() + RELAY_LIFE_S / 3

    async def _store(self, key: str, said: object, life_s: float) -> bool:
        expires_at_s = self._clock.time_ms() / 1000 + life_s
        subkey = subkey_of(self._daemon.peer_id)
        return await self._require_dht().store(key, subkey, encode(said), expires_at_s)

    async def _connect_neighbours(self, found: dict[PeerId, FoundPeer]) -> None:
        """Connect to some peers of the run, so that its gossip is one mesh."""
        control = self._daemon.control
        connected = await control.connected_peers()
        own_key = public_key_from_peer_id(self._daemon.peer_id)
        others = sorted(
            (peer for peer in found if peer != self._daemon.peer_id),
            key=lambda peer: hash_parts("neighbour", own_key, public_key_from_peer_id(peer)),
        )
        wanted = [found[peer] for peer in others[:NEIGHBOURS] if peer not in connected]
        await asyncio.gather(*(_try_to_connect(control, neighbour) for neighbour in wanted))

    async def _require_identity_free(self, run_id: RunId, record: PeerRecord) -> None:
        ours = (await self.lookup(run_id)).get(self._daemon.peer_id)
        if ours is None or ours.record.instance == record.instance:
            return
        await self._require_nobody_like_us(ours.addresses)

    async def _require_nobody_like_us(self, addresses: Iterable[Multiaddr]) -> None:
        """ResourceError if a peer that is not us answers where our identity is said to be."""
        ports_here = {address.port for address in self._daemon.listen}
        for address in addresses:
            if address.port not in ports_here and await is_libp2p_at(address):
                raise ResourceError(
                    f"the identity {self._daemon.peer_id} is in use by the peer at {address}",
                    "stop that peer, or make another key with: psyche-peer keys new --out FILE",
                )

    def _emit(self, event: DiscoveryEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)


async def _try_to_connect(control: ControlSocket, found: FoundPeer) -> None:
    try:
        await control.connect(found.peer, found.addresses)
    except PsycheError as error:
        _log.debug("a neighbour is out of reach", peer=short_id(found.peer), cause=error.cause)
