"""What the relay's tests share: a run with members, a relay for it, and a server behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psyche_p2p.identity import Identity
from psyche_p2p.ids import PeerId, RunId
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.client import LocalDoors, RelayListener, RelayUser
from psyche_p2p.net.relay.desk import RelayLimits
from psyche_p2p.net.relay.server import RelayServer
from tests.echo import echo

RUN = RunId(b"r" * 32)
RELAY, HIDDEN, CALLER, STRANGER = (Identity.from_seed(bytes([n]) * 32) for n in range(4))
TEST_S = 30


@dataclass(slots=True)
class Scene:
    """A running relay, and a peer that can be reached only through it."""

    server: RelayServer
    address: RelayAddress
    members: set[PeerId]
    listener: RelayListener

    @property
    def caller(self) -> RelayUser:
        return RelayUser(CALLER, RUN)


@asynccontextmanager
async def scene(limits: RelayLimits | None = None) -> AsyncIterator[Scene]:
    """A relay, and a hidden peer that echoes what it is sent."""
    members = {HIDDEN.peer_id, CALLER.peer_id}

    def is_member(run_id: RunId, peer: PeerId) -> bool:
        return run_id == RUN and peer in members

    hidden = await asyncio.start_server(echo, "127.0.0.1", 0)
    local_port = hidden.sockets[0].getsockname()[1]
    async with RelayServer(RELAY.peer_id, is_member, limits, host="127.0.0.1") as server:
        address = RelayAddress("127.0.0.1", server.port, RELAY.peer_id)
        async with RelayListener(
            RelayUser(HIDDEN, RUN), address, LocalDoors(local_port)
        ) as listener:
            await listener.is_listening.wait()
            yield Scene(server, address, members, listener)
    hidden.close()


async def receive(connection: Any, size_bytes: int) -> bytes:
    """So many bytes from a plain socket, or fewer if it ends before."""
    loop, received = asyncio.get_running_loop(), bytearray()
    while len(received) < size_bytes:
        data = await loop.sock_recv(connection, size_bytes - len(received))
        if not data:
            break
        received += data
    return bytes(received)


async def round_trip(scene: Scene, data: bytes) -> bytes:
    """What comes back from the hidden peer's echo through a new circuit."""
    with await scene.caller.open_circuit(scene.address, HIDDEN.peer_id) as circuit:
        loop = asyncio.get_running_loop()
        sending = asyncio.ensure_future(loop.sock_sendall(circuit, data))
        received = await receive(circuit, len(data))
        await sending
    return received


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, TEST_S))
