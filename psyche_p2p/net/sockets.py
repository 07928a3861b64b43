"""Plain non-blocking sockets in asyncio, with every failure in our own words.

For the few places that move bytes without looking at them: one buffer a direction, no stream object
in between, and so a bound on memory that can be stated.
"""

from __future__ import annotations

import asyncio
import os
import socket

from psyche_p2p.errors import ResourceError, Unavailable, WireCode, WireError
from psyche_p2p.wire.varint import decode_varint

_KEEPALIVE_IDLE_S = 30
_KEEPALIVE_PROBES = 3
_BACKLOG = 512


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening socket; a ResourceError that names the port if there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = _reason(error)
        cause = f"cannot listen on {_shown(host, port)}: {reason}"
        raise ResourceError(cause, "choose another port, or 0 for any free one") from error
    listener.setblocking(False)
    return listener


async def connect_tcp(host: str, port: int, timeout_s: float) -> socket.socket:
    """A connection; Unavailable if there is none in time."""
    try:
        return await asyncio.wait_for(_connect_any(host, port), timeout_s)
    except asyncio.TimeoutError as error:
        cause = f"{_shown(host, port)} does not answer within {timeout_s:g} s"
        raise Unavailable(cause) from error
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"cannot connect to {_shown(host, port)}: {_reason(error)}") from error


def prepare(connection: socket.socket) -> None:
    """Non-blocking, without delay, and noticed within two minutes when the other side vanishes."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):  # not everywhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def receive_frame(connection: socket.socket, max_bytes: int) -> bytes:
    """One frame and not a byte more, so that what follows may be anything.

    WireError for a length above the limit, before anything is allocated, and for an early end.
    """
    prefix = bytearray()
    while True:
        prefix += await _receive_exactly(connection, 1)
        try:
            length = decode_varint(prefix)
        except ValueError as error:
            raise WireError(WireCode.MALFORMED, f"a frame's length is {error}") from error
        if length is not None:
            break
    if length[0] > max_bytes:
        cause = f"a frame of {length[0]} bytes, at most {max_bytes} are allowed"
        raise WireError(WireCode.TOO_LARGE, cause)
    return await _receive_exactly(connection, length[0])


async def _receive_exactly(connection: socket.socket, size_bytes: int) -> bytes:
    loop, received = asyncio.get_running_loop(), bytearray()
    while len(received) < size_bytes:
        data = await loop.sock_recv(connection, size_bytes - len(received))
        if not data:
            raise WireError(WireCode.MALFORMED, "the connection ends inside a frame")
        received += data
    return bytes(received)


async def _connect_any(host: str, port: int) -> socket.socket:
    """The first of the host's addresses that answers."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    last_error: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        connection = socket.socket(family, kind, protocol)
        try:
            prepare(connection)
            await loop.sock_connect(connection, address)
            return connection
        except OSError as error:
            connection.close()
            last_error = error
        except asyncio.CancelledError:
            connection.close()
            raise
    raise last_error or OSError("the name has no address")


def _reason(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code is not None and code > 0 else str(error)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
