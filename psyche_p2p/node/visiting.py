"""A run seen from outside: found, described, its log fetched and checked, and no part taken in it.

A visitor has an identity of the moment, and announces nothing. It may keep how far it has checked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from psyche_p2p.clock import Clock
from psyche_p2p.config import RunConfig
from psyche_p2p.coordinator import State
from psyche_p2p.coordinator.logfile import LogHead, begin_log
from psyche_p2p.identity import Identity
from psyche_p2p.ids import Height, PeerId, RunId
from psyche_p2p.net.bulk_client import BulkClient, Patience
from psyche_p2p.net.daemon import Daemon, DaemonConfig
from psyche_p2p.net.description import most_described
from psyche_p2p.net.discovery import Discovery
from psyche_p2p.net.multiaddr import Multiaddr, parse_multiaddr
from psyche_p2p.net.relay.client import RelayUser
from psyche_p2p.net.relay.paths import RelayPaths
from psyche_p2p.net.tls import MemberTrust
from psyche_p2p.node.bookmarks import NO_BOOKMARKS, Bookmarks
from psyche_p2p.node.directory import Directory
from psyche_p2p.node.entering import describe, fetch_config, find_run
from psyche_p2p.node.replay import catch_up
from psyche_p2p.wire import DecidedBlock

_LISTEN = (parse_multiaddr("/ip4/127.0.0.1/tcp/0"),)  # a visitor calls, and is not called


@dataclass
class Visitor:
    """What a visitor knows of the run, as far as it has looked."""

    run_id: RunId
    config: RunConfig
    daemon: Daemon
    discovery: Discovery
    _client: BulkClient
    _directory: Directory
    _bookmarks: Bookmarks
    _head: LogHead | None = None
    state: State | None = None
    """After the last block that was fetched and checked; None while the run has not begun."""
    heights: dict[PeerId, Height] = field(default_factory=dict)
    """How long each peer that answered says its log is."""

    async def look(self, on_state: Callable[[State], None] = lambda _: None) -> State | None:
        """Ask everyone who answers, and follow the log to where they say it ends."""
        await self._directory.look()
        doors = list(self._directory.open_doors().values())
        described = await describe(self._client, doors, self.run_id)
        self.heights = {one.contact.peer: one.height for one in described}
        if self._head is None:
            self._head = most_described(described)
        if self._head is not None:
            known = self.state or self._bookmarks.find(self._head) or begin_log(self._head)
            contacts = [one.contact for one in described]
            self.state = await catch_up(known, _Nowhere(), self._client, contacts, on_state)
            if self.state is not known:
                self._bookmarks.keep(self._head, self.state)
        return self.state


class _Nowhere:
    """Keeps no blocks: what they lead to is all that a visitor wants."""

    def append(self, _decided: DecidedBlock) -> None:
        """Let it go."""


@asynccontextmanager
async def visit(
    bootstrap: tuple[Multiaddr, ...],
    wanted: str | None,
    clock: Clock,
    bookmarks: Bookmarks = NO_BOOKMARKS,
) -> AsyncIterator[Visitor]:
    """Enter the network and find a run by its name or id; Unavailable if it is not there."""
    async with AsyncExitStack() as stack:
        guest = Identity.generate()
        config = DaemonConfig(guest, listen=_LISTEN, is_private=True)
        daemon = await stack.enter_async_context(Daemon(config))
        discovery = await stack.enter_async_context(Discovery(daemon, bootstrap))
        run_id = await find_run(discovery, wanted)
        paths = await stack.enter_async_context(RelayPaths(RelayUser(guest, run_id)))
        client = await stack.enter_async_context(BulkClient(None, Patience(), paths=paths))
        directory = Directory(run_id, guest.peer_id, discovery, MemberTrust(clock), _trust_nobody)
        run_config = await fetch_config(client, directory, run_id)
        yield Visitor(run_id, run_config, daemon, discovery, client, directory, bookmarks)


async def _trust_nobody() -> None:
    """A visitor serves no members, so there is nothing to renew."""
