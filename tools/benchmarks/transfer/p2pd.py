"""A stream of hivemind's p2pd (go-libp2p over TCP): from memory to memory, not hashed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

_PIECE_BYTES = 1 << 20


@asynccontextmanager
async def _daemon(initial_peers: list[str]) -> AsyncIterator[Any]:
    from hivemind.p2p import P2P

    p2p = await P2P.create(
        initial_peers=initial_peers,
        host_maddrs=["/ip4/127.0.0.1/tcp/0"],
        auto_nat=False,
        nat_port_map=False,
        use_relay=False,
    )
    try:
        yield p2p
    finally:
        await p2p.shutdown()


@asynccontextmanager
async def serve(folder: Path, blob: bytes) -> AsyncIterator[Any]:
    del folder
    view = memoryview(blob)

    async def send(_: Any, reader: Any, writer: Any) -> None:
        await reader.readexactly(1)
        for at in range(0, len(view), _PIECE_BYTES):
            writer.write(view[at : at + _PIECE_BYTES])
            await writer.drain()
        writer.close()

    async with _daemon([]) as p2p:
        await p2p.add_binary_stream_handler("blob", send)
        addresses = [str(address) for address in await p2p.get_visible_maddrs()]
        yield addresses, p2p.peer_id.to_base58(), len(blob)


@asynccontextmanager
async def connect(folder: Path, address: Any) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    del folder
    from hivemind.p2p import PeerID

    addresses, peer, size_bytes = address
    async with _daemon(addresses) as p2p:

        async def fetch() -> None:
            _, reader, writer = await p2p.call_binary_stream_handler(
                PeerID.from_base58(peer), "blob"
            )
            writer.write(b"g")
            pieces, received = [], 0
            while received < size_bytes:
                piece = await reader.read(_PIECE_BYTES)
                if not piece:
                    raise ValueError("the blob did not arrive whole")
                pieces.append(piece)
                received += len(piece)
            writer.close()

        yield fetch
