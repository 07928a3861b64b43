"""Whether a relay carries what it promised to: a peer behind it sends itself more than a little.

Nobody vouches for a relay. One that is broken, or meant only for small messages, is found out
before others are told to come through it.
"""

from __future__ import annotations

import asyncio

from psyche_p2p.net.control import Stream
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.client import RelayUser
from psyche_p2p.net.relay.probe import PROBE_PROTOCOL, ProbeVerdict, probe_circuit
from psyche_p2p.wire.relay import RelayService


async def try_relay(user: RelayUser, relay: RelayAddress) -> ProbeVerdict:
    """The verdict on a relay at which this very peer is listening."""
    own = user.identity.peer_id

    async def open_echo() -> Stream:
        circuit = await user.open_circuit(relay, own, RelayService.ECHO)
        reader, writer = await asyncio.open_connection(sock=circuit)
        return Stream(own, PROBE_PROTOCOL, reader, writer)

    return await probe_circuit(open_echo)
