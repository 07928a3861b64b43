"""A relay for every run of its network: found through the DHT, and members known from there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from psyche_p2p.clock import SystemClock
from psyche_p2p.ids import PeerId
from psyche_p2p.net.discovery import Discovery
from psyche_p2p.net.multiaddr import Multiaddr
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.desk import RelayLimits
from psyche_p2p.net.relay.run_members import RunMembers
from psyche_p2p.net.relay.server import RelayServer


@dataclass(frozen=True, slots=True)
class RelayPlace:
    """Where a relay listens, and at which host others find it."""

    host: str
    port: int
    public_host: str


def best_host(addresses: Sequence[Multiaddr]) -> str:
    """Of a daemon's own addresses, the host that others are likeliest to reach."""
    hosts = [address.host for address in addresses if not address.host.startswith("127.")]
    return hosts[0] if hosts else "127.0.0.1"


@asynccontextmanager
async def relaying(
    peer: PeerId, discovery: Discovery, place: RelayPlace, limits: RelayLimits | None = None
) -> AsyncIterator[tuple[RelayServer, RelayAddress]]:
    """Relay, and say so in the DHT, while this is entered."""
    members = RunMembers(discovery.lookup, SystemClock())
    async with RelayServer(
        peer,
        members.is_member,
        limits,
        host=place.host,
        port=place.port,
        look_again=members.look_again,
    ) as server:
        address = RelayAddress(place.public_host, server.port, peer)
        refreshing = asyncio.create_task(members.run(), name="relay-members")
        await discovery.announce_relay(str(address))
        try:
            yield server, address
        finally:
            await discovery.announce_relay(None)
            refreshing.cancel()
            await asyncio.gather(refreshing, return_exceptions=True)
