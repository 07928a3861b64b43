"""An uplink for tests without root: a TCP proxy that delays bytes and caps their rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PIECE_BYTES = 1 << 14
_BUFFER_S = 0.04
_IN_FLIGHT_BYTES = 4 << 20  # what the emulated path holds: above rate times delay


@asynccontextmanager
async def uplink(server: str, bytes_per_s: float, delay_s: float) -> AsyncIterator[str]:
    """An address before `server`, every byte of which is `delay_s` late in both directions."""
    host, _, port = server.rpartition(":")
    link = _Link(bytes_per_s)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        for source, sink, shaper in (
            (reader, upstream_writer, _Link(float("inf"))),
            (upstream_reader, writer, link),
        ):
            task = asyncio.create_task(_carry(source, sink, shaper, delay_s))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Link:
    """One line, shared by all connections of a holder: when has it sent so many more bytes?"""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def send(self, size: int, now: float) -> float:
        self._free_at = max(self._free_at, now) + size / self._bytes_per_s
        return self._free_at


async def _carry(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: _Link, delay_s: float
) -> None:
    """Read as fast as the line sends; deliver each piece when it has crossed the distance."""
    loop = asyncio.get_running_loop()
    crossing: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT_BYTES // _PIECE_BYTES)
    delivering = asyncio.create_task(_deliver(crossing, sink))
    try:
        while piece := await source.read(_PIECE_BYTES):
            sent_at = link.send(len(piece), loop.time())
            await crossing.put((sent_at + delay_s, piece))
            # A sender's buffer keeps the line busy: to sleep for each piece would oversleep each.
            if sent_at - loop.time() > _BUFFER_S:
                await asyncio.sleep(_BUFFER_S / 2)
        await crossing.put((loop.time() + delay_s, b""))
        await delivering
    except OSError:
        pass  # one side hung up: so does the other
    finally:
        delivering.cancel()
        sink.close()


async def _deliver(
    crossing: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_at, piece = await crossing.get()
        await asyncio.sleep(max(0.0, due_at - loop.time()))
        if not piece:
            return
        sink.write(piece)
        await sink.drain()
