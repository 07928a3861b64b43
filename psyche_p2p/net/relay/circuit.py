"""The bulk plane over libp2p streams: the last resort, when only a libp2p relay reaches a peer.

Slower than the blind relay (each byte crosses two daemons) and open to the relay's hidden limits,
so a dialler probes before its port exists, and whatever fails the probe is Unavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from typing_extensions import Self

from psyche_p2p.errors import PsycheError, Unavailable
from psyche_p2p.ids import PeerId
from psyche_p2p.log import get_logger
from psyche_p2p.net.control import ControlSocket, Stream, read_frame
from psyche_p2p.net.multiaddr import unix_multiaddr
from psyche_p2p.net.relay.probe import PROBE_PROTOCOL, ProbeResponder, probe_circuit
from psyche_p2p.wire import control

BULK_PROTOCOL = "/psyche/bulk/1"
MAX_STREAMS = 16
_BLOCK_BYTES = 64 << 10
_HEAD_BYTES = 1024
_HEAD_S = 10.0
_LOOPBACK = "127.0.0.1"
_log = get_logger(__name__)
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OpenFar = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Ends]]


class CircuitDialer:
    """A local port whose every connection is a libp2p stream to one peer, inside `async with`.

    Entering it probes the way there first: Unavailable if it does not carry enough.
    """

    def __init__(self, control_socket: ControlSocket, target: PeerId) -> None:
        self._control = control_socket
        self._target = target
        self._server: asyncio.Server | None = None
        self._streams = _Streams()

    @property
    def port(self) -> int:
        """Where to connect, on the loopback."""
        assert self._server is not None, "the dialer has not been started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        verdict = await probe_circuit(lambda: self._open(PROBE_PROTOCOL))
        if not verdict.is_trusted:
            raise Unavailable(str(verdict))
        self._server = await asyncio.start_server(
            self._streams.serving(self._dial), _LOOPBACK, 0, limit=_BLOCK_BYTES
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        await self._streams.end()

    async def _open(self, protocol: str) -> Stream:
        return await self._control.open_stream(self._target, [protocol])

    async def _dial(self, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> Ends:
        stream = await self._open(BULK_PROTOCOL)
        return stream.reader, stream.writer


class CircuitListener:
    """Ends other peers' bulk streams, and their probes, at a local port, inside `async with`.

    The daemon forgets it when it dies: enter a new one for each of its generations.
    """

    def __init__(self, control_socket: ControlSocket, folder: Path, local_port: int) -> None:
        self._control = control_socket
        self._path = folder / "bulk-streams.sock"
        self._local_port = local_port
        self._probes = ProbeResponder(control_socket, folder)
        self._server: asyncio.Server | None = None
        self._streams = _Streams()

    async def __aenter__(self) -> Self:
        await self._probes.__aenter__()
        self._server = await asyncio.start_unix_server(
            self._streams.serving(self._answer), self._path, limit=_BLOCK_BYTES
        )
        await self._control.handle_streams(unix_multiaddr(str(self._path)), [BULK_PROTOCOL])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        await self._streams.end()
        await self._probes.__aexit__()
        self._path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> Ends:
        head = await asyncio.wait_for(read_frame(reader, _HEAD_BYTES), _HEAD_S)
        control.decode_stream_info(head)  # TLS says who it really is
        return await asyncio.open_connection(_LOOPBACK, self._local_port, limit=_BLOCK_BYTES)


class _Streams:
    """The streams that are open now, each joined to its other half."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def serving(
        self, open_far: OpenFar
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        """A callback for a server: each of its connections is joined to what `open_far` opens."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._tasks) >= MAX_STREAMS:
                writer.transport.abort()
                return
            task = asyncio.ensure_future(_join((reader, writer), open_far))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accept

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _join(near: Ends, open_far: OpenFar) -> None:
    writers = [near[1]]
    try:
        far = await open_far(*near)
        writers.append(far[1])
        ways = (_copy(near[0], far[1]), _copy(far[0], near[1]))
        await asyncio.gather(*ways)
    except (PsycheError, OSError, EOFError, asyncio.TimeoutError) as error:
        _log.info("a libp2p bulk stream ended early", cause=str(error) or "no answer")
        for writer in writers:
            writer.transport.abort()
    finally:
        for writer in writers:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BLOCK_BYTES):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
        await writer.drain()
