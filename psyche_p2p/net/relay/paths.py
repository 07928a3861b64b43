"""Where to connect so that a peer is reached: its own address, or a local port that leads there.

gRPC connects to addresses. For a peer behind a relay it is given the port of a dialler here, which
opens a circuit for each of its connections.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from typing_extensions import Self

from psyche_p2p.errors import ConfigError
from psyche_p2p.ids import PeerId, short_id
from psyche_p2p.net.errors import Unreachable
from psyche_p2p.net.relay.address import is_relay_address, parse_relay_address
from psyche_p2p.net.relay.client import RelayDialer, RelayUser
from psyche_p2p.wire.relay import RelayService

MAX_DIALERS = 256
_Way = tuple[str, PeerId, RelayService]


class RelayPaths:
    """The diallers of one peer in one run, each begun when it is first needed; `async with`."""

    def __init__(self, user: RelayUser) -> None:
        self._user = user
        self._dialers: OrderedDict[_Way, RelayDialer] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def resolve(self, address: str, peer: PeerId, service: RelayService) -> str:
        """An address to connect to; Unreachable for one that cannot be read.

        Ask anew before every connection: the port of a way not asked for may close.
        """
        if not is_relay_address(address):
            return address
        way = (address, peer, service)
        dialer = self._dialers.pop(way, None) or self._open(way)
        self._dialers[way] = dialer
        if len(self._dialers) > MAX_DIALERS:
            self._retire(self._dialers.popitem(last=False)[1])
        return f"127.0.0.1:{dialer.port}"

    def _open(self, way: _Way) -> RelayDialer:
        address, peer, service = way
        try:
            relay = parse_relay_address(address)
        except ConfigError as error:
            raise Unreachable(f"peer {short_id(peer)}: {error.cause}") from error
        dialer = RelayDialer(self._user, relay, peer, service)
        dialer.open()
        return dialer

    def _retire(self, dialer: RelayDialer) -> None:
        task = asyncio.create_task(dialer.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        closing = [dialer.close() for dialer in self._dialers.values()]
        self._dialers.clear()
        await asyncio.gather(*closing, *self._closing)
