"""A stream of py-libp2p (TCP, Noise, yamux): from memory to memory, not hashed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

_PROTOCOL = "/psyche-bench/1"
_PIECE_BYTES = 1 << 18


class _TrioHost:
    """A host in a thread of its own, because py-libp2p runs on trio."""

    def __init__(self, setup: Callable[[Any], Awaitable[Any]]) -> None:
        self._setup = setup
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Any] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run)
        self._token: Any = None
        self._stop: Any = None

    async def start(self) -> Any:
        self._thread.start()
        return await self._ready

    async def call(self, function: Callable[[], Awaitable[Any]]) -> Any:
        import trio

        return await asyncio.to_thread(trio.from_thread.run, function, trio_token=self._token)

    async def stop(self) -> None:
        self._token.run_sync_soon(self._stop.set)
        await asyncio.to_thread(self._thread.join, 5)

    def _run(self) -> None:
        import trio

        trio.run(self._main)

    async def _main(self) -> None:
        import trio
        from libp2p import new_host
        from multiaddr import Multiaddr

        self._token, self._stop = trio.lowlevel.current_trio_token(), trio.Event()
        host = new_host()
        async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            ready = await self._setup(host)
            self._loop.call_soon_threadsafe(self._ready.set_result, ready)
            await self._stop.wait()


@asynccontextmanager
async def serve(folder: Path, blob: bytes) -> AsyncIterator[Any]:
    del folder

    async def send(stream: Any) -> None:
        await stream.read(1)
        for at in range(0, len(blob), _PIECE_BYTES):
            await stream.write(blob[at : at + _PIECE_BYTES])
        await stream.close()

    async def setup(host: Any) -> Any:
        host.set_stream_handler(_PROTOCOL, send)
        return f"{host.get_addrs()[0]}", len(blob)

    host = _TrioHost(setup)
    yield await host.start()
    await host.stop()


@asynccontextmanager
async def connect(folder: Path, address: Any) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    del folder
    where, size_bytes = address

    async def setup(host: Any) -> Any:
        from libp2p.peer.peerinfo import info_from_p2p_addr
        from multiaddr import Multiaddr

        info = info_from_p2p_addr(Multiaddr(where))
        await host.connect(info)
        return host, info.peer_id

    trio_host = _TrioHost(setup)
    host, peer = await trio_host.start()

    async def receive() -> None:
        stream = await host.new_stream(peer, [_PROTOCOL])
        await stream.write(b"g")
        pieces, received = [], 0
        while received < size_bytes:
            piece = await stream.read(_PIECE_BYTES)
            pieces.append(piece)
            received += len(piece)
        await stream.close()

    async def fetch() -> None:
        await trio_host.call(receive)

    yield fetch
    await trio_host.stop()
