"""One part in a relay's play over an emulated network, each a process in its own namespace.

python -m tests.net.relay.actor relay HOST PORT      # serves the run's members
python -m tests.net.relay.actor hidden HOST PORT     # echoes, reachable through the relay alone
python -m tests.net.relay.actor caller HOST PORT MEBIBYTES      # prints the seconds it took
"""

from __future__ import annotations

import asyncio
import random
import sys

from psyche_p2p.errors import Unavailable
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.client import LocalDoors, RelayListener, RelayUser
from psyche_p2p.net.relay.server import RelayServer
from tests.echo import echo
from tests.net.relay.relays import CALLER, HIDDEN, RELAY, RUN, receive


async def play_relay(host: str, port: int) -> None:
    async with RelayServer(RELAY.peer_id, lambda *_: True, host=host, port=port):
        print("ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


async def play_hidden(relay: RelayAddress) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with RelayListener(RelayUser(HIDDEN, RUN), relay, LocalDoors(port)) as listener:
        await listener.is_listening.wait()
        print("ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


async def play_caller(relay: RelayAddress, mebibytes: int) -> None:
    loop = asyncio.get_running_loop()
    data = random.Random(1).randbytes(mebibytes << 20)
    with await RelayUser(CALLER, RUN).open_circuit(relay, HIDDEN.peer_id) as circuit:
        began_s = loop.time()
        sending = asyncio.ensure_future(loop.sock_sendall(circuit, data))
        echoed = await receive(circuit, len(data))
        await sending
    if echoed != data:
        raise Unavailable("other bytes came back than were sent")
    print(loop.time() - began_s, flush=True)  # noqa: T201


def main(role: str, host: str, port: str, *mebibytes: str) -> None:
    relay = RelayAddress(host, int(port), RELAY.peer_id)
    match role:
        case "relay":
            asyncio.run(play_relay(host, int(port)))
        case "hidden":
            asyncio.run(play_hidden(relay))
        case "caller":
            asyncio.run(play_caller(relay, int(mebibytes[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
