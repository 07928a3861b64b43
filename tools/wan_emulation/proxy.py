"""A TCP proxy that delays, slows, stalls and cuts: for machines without namespaces.

It shapes each direction of each connection on its own and cannot lose packets, because TCP never
shows it any. Its memory is bounded: it stops reading while as much is on its way as the link holds.

    async with TcpProxy("127.0.0.1", 4001, PathProfile(delay_ms=25)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from types import TracebackType

from typing_extensions import Self

from wan_emulation.profile import PathProfile
from wan_emulation.shaping import BYTES_PER_MBIT, Link

_READ_BYTES = 16 << 10
_LEAST_IN_FLIGHT_BYTES = 64 << 10
_MOST_IN_FLIGHT_BYTES = 16 << 20
_UNLIMITED_QUEUE_MS = 1e9


class TcpProxy:
    """Listens on a free loopback port; each connection to it is one to the target, but worse."""

    def __init__(
        self,
        target_host: str,
        target_port: int,
        profile: PathProfile,
        *,
        cut_after_bytes: int | None = None,
        listen_port: int = 0,
    ) -> None:
        self._target = (target_host, target_port)
        self._profile = profile
        self._cut_after_bytes = cut_after_bytes
        self._listen_port = listen_port
        self._moving = asyncio.Event()
        self._moving.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.forwarded_bytes = 0
        """In both directions, over all connections."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._listen_port, limit=_READ_BYTES
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "the proxy has not been started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def stall(self) -> None:
        """Deliver nothing more, but keep every connection open."""
        self._moving.clear()

    def resume(self) -> None:
        """Deliver again."""
        self._moving.set()

    def cut(self) -> None:
        """Reset every open connection; new ones are welcome."""
        for connection in self._connections:
            connection.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target, limit=_READ_BYTES)
            writers.append(far_writer)
            await self._carry_both_ways(reader, writer, far_reader, far_writer)
        except (ConnectionError, asyncio.CancelledError):
            for each in writers:
                _reset(each)
        finally:
            for each in writers:
                each.close()
            self._connections.discard(task)

    async def _carry_both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        ways = (
            asyncio.ensure_future(self._carry(reader, far_writer, self._profile.up_mbit)),
            asyncio.ensure_future(self._carry(far_reader, writer, self._profile.down_mbit)),
        )
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate_mbit: float | None
    ) -> None:
        way = _Way(self._profile.delay_ms / 1000, rate_mbit)
        arriving = asyncio.ensure_future(self._deliver(way, writer))
        try:
            while data := await reader.read(_READ_BYTES):
                await way.put(data)
            await way.put(b"")
            await arriving
        finally:
            arriving.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await arriving

    async def _deliver(self, way: _Way, writer: asyncio.StreamWriter) -> None:
        while data := await way.get():
            await self._moving.wait()
            self._count(len(data))
            writer.write(data)
            await writer.drain()
        await self._moving.wait()
        if writer.can_write_eof():
            writer.write_eof()

    def _count(self, size_bytes: int) -> None:
        self.forwarded_bytes += size_bytes
        if self._cut_after_bytes is not None and self.forwarded_bytes > self._cut_after_bytes:
            self.cut()
            raise ConnectionResetError("cut on purpose")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset and not an orderly end."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Way:
    """Bytes on their way in one direction: each block arrives a delay after the link let it go."""

    def __init__(self, delay_s: float, rate_mbit: float | None) -> None:
        self._link = Link(rate_mbit, _UNLIMITED_QUEUE_MS)
        self._delay_s = delay_s
        held_bytes = int((rate_mbit or 1e6) * BYTES_PER_MBIT * (delay_s + 0.1))
        self._most_bytes = min(max(held_bytes, _LEAST_IN_FLIGHT_BYTES), _MOST_IN_FLIGHT_BYTES)
        self._blocks: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Accept a block (an empty one is the end) once there is room."""
        while self._bytes > self._most_bytes:
            await self._wait()
        now_s = asyncio.get_running_loop().time()
        left_s = self._link.pass_through(len(data), now_s)
        assert left_s is not None, "this link's queue has no end"
        self._blocks.append((left_s + self._delay_s, data))
        self._bytes += len(data)
        self._changed.set()

    async def get(self) -> bytes:
        """The next block, when it arrives."""
        while not self._blocks:
            await self._wait()
        at_s, data = self._blocks.popleft()
        await asyncio.sleep(at_s - asyncio.get_running_loop().time())
        self._bytes -= len(data)
        self._changed.set()
        return data

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
