"""Bytes from one connection to another, unread and both ways, through one buffer a direction."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

BUFFER_BYTES = 256 << 10
Pace = Callable[[int], float]
"""Told how many bytes came, it says how many seconds to wait before they may go on."""


async def splice(one: socket.socket, other: socket.socket, pace: Pace) -> None:
    """Carry both directions until both have ended; OSError when either connection breaks.

    A side that does not read stops its writer: nothing is ever queued but the two buffers.
    """
    ways = [
        asyncio.ensure_future(_carry(one, other, pace)),
        asyncio.ensure_future(_carry(other, one, pace)),
    ]
    try:
        await asyncio.gather(*ways)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(source: socket.socket, target: socket.socket, pace: Pace) -> None:
    loop = asyncio.get_running_loop()
    buffer = bytearray(BUFFER_BYTES)
    view = memoryview(buffer)
    while size_bytes := await loop.sock_recv_into(source, buffer):
        wait_s = pace(size_bytes)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await loop.sock_sendall(target, view[:size_bytes])
    with suppress(OSError):  # the other side may have gone first
        target.shutdown(socket.SHUT_WR)
