"""Whether a libp2p relay carries more than a few messages: tried before it is trusted.

go-libp2p's relays end a circuit after 128 KiB unless they are told otherwise, and the daemon's way
of telling them is lost when it is known to be public (docs/design.md, "Relay"). The limit cannot be
asked for, so we send through the circuit several times as much and want it back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from psyche_p2p.errors import Unavailable, WireError
from psyche_p2p.ids import PeerId
from psyche_p2p.net.control import ControlSocket, Stream, read_frame
from psyche_p2p.net.multiaddr import unix_multiaddr
from psyche_p2p.wire import control

PROBE_PROTOCOL = "/psyche/relay-probe/1"
RELAY_LIMIT_BYTES = 128 << 10
PROBE_BYTES = 4 * RELAY_LIMIT_BYTES
PROBE_S = 20.0
_BLOCK_BYTES = 16 << 10
_MOST_PROBES = 4
_HEAD_BYTES = 1024
OpenStream = Callable[[], Awaitable[Stream]]


@dataclass(frozen=True, slots=True)
class ProbeVerdict:
    """What came of a probe."""

    sent_bytes: int
    returned_bytes: int
    cause: str

    @property
    def is_trusted(self) -> bool:
        """Whether blobs may go this way. If not, it is good for small messages at most."""
        return self.returned_bytes == self.sent_bytes > RELAY_LIMIT_BYTES and not self.cause

    def __str__(self) -> str:
        if self.is_trusted:
            return f"the circuit carried {self.sent_bytes} bytes and back"
        return (
            f"the circuit is not trusted: {self.returned_bytes} of {self.sent_bytes} bytes "
            f"came back ({self.cause or 'it ended'}); use another relay"
        )


async def probe_circuit(
    open_stream: OpenStream, *, size_bytes: int = PROBE_BYTES, timeout_s: float = PROBE_S
) -> ProbeVerdict:
    """Send more than a limited relay carries and compare what comes back."""
    payload = random.Random(size_bytes).randbytes(size_bytes)
    try:
        stream = await open_stream()
    except (Unavailable, WireError) as error:
        return ProbeVerdict(len(payload), 0, str(error))
    returned = bytearray()
    sending = asyncio.ensure_future(_send(stream, payload))
    try:
        cause = await _compare(stream, payload, returned, timeout_s)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        stream.writer.close()
    return ProbeVerdict(len(payload), len(returned), cause)


class ProbeResponder:
    """Sends probes back, inside `async with`: a few at a time, none for long."""

    def __init__(self, control_socket: ControlSocket, folder: Path) -> None:
        self._control = control_socket
        self._path = folder / "relay-probe.sock"
        self._server: asyncio.Server | None = None
        self._running = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(
            self._answer, self._path, limit=2 * _BLOCK_BYTES
        )
        await self._control.handle_streams(unix_multiaddr(str(self._path)), [PROBE_PROTOCOL])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._running += 1
        try:
            if self._running <= _MOST_PROBES:
                with suppress(OSError, EOFError, WireError, asyncio.TimeoutError):
                    await asyncio.wait_for(_echo(reader, writer), PROBE_S)
        finally:
            self._running -= 1
            writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> PeerId:
    peer, _ = control.decode_stream_info(await read_frame(reader, _HEAD_BYTES))
    left = PROBE_BYTES
    while left > 0 and (data := await reader.read(min(left, _BLOCK_BYTES))):
        writer.write(data)
        await writer.drain()
        left -= len(data)
    writer.write_eof()
    await reader.read(1)  # until the prober has what it wants
    return peer


async def _send(stream: Stream, payload: bytes) -> None:
    for start in range(0, len(payload), _BLOCK_BYTES):
        stream.writer.write(payload[start : start + _BLOCK_BYTES])
        await stream.writer.drain()


async def _compare(stream: Stream, payload: bytes, returned: bytearray, timeout_s: float) -> str:
    """Read until everything is back; what went wrong, or nothing."""
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while len(returned) < len(payload):
        left_s = deadline_s - asyncio.get_running_loop().time()
        try:
            data = await asyncio.wait_for(stream.reader.read(_BLOCK_BYTES), left_s)
        except asyncio.TimeoutError:
            return f"nothing more within {timeout_s:g} s"
        except OSError as error:
            return str(error)
        if not data:
            return "it ended"
        if payload[len(returned) : len(returned) + len(data)] != data:
            return "other bytes came back than were sent"
        returned += data
    return ""
