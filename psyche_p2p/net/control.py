"""Talks to a running libp2p daemon over its control socket.

Every request has a connection of its own, so a daemon that dies ends all of them at once: nothing
waits for an answer that cannot come (hivemind's client, which shares one connection, waits for
ever).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from psyche_p2p.errors import ConfigError, Unavailable, WireCode, WireError
from psyche_p2p.ids import PeerId, short_id
from psyche_p2p.net.multiaddr import Multiaddr, decode_multiaddr
from psyche_p2p.wire import control
from psyche_p2p.wire.framing import FrameDecoder, encode_frame
from psyche_p2p.wire.varint import MAX_VARINT_BYTES, decode_varint

# The daemon takes 4 MiB over its socket; a message of a topic has at most 1 MiB.
MAX_FRAME_BYTES = 4 << 20
CALL_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 10
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream to a peer through the daemon."""

    peer: PeerId
    protocol: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Session:
    """One connection to the control socket, used for one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._lock = asyncio.Lock()

    @property
    def is_over(self) -> bool:
        """Whether the daemon, or an answer that never came, has ended it."""
        return self.reader.at_eof() or self.writer.is_closing()

    async def ask(self, request: bytes, timeout_s: float = CALL_TIMEOUT_S) -> control.Answer:
        """The daemon's answer; Unavailable if it refuses, is gone, or takes too long."""
        async with self._lock:
            try:
                answer = await asyncio.wait_for(self._exchange(request), timeout_s)
            except asyncio.TimeoutError as error:
                self.writer.close()
                cause = f"the libp2p daemon has not answered in {timeout_s:g} s"
                raise Unavailable(cause, "try again later") from error
            except (OSError, EOFError) as error:
                self.writer.close()
                raise daemon_gone() from error
        if answer.error is not None:
            raise Unavailable(f"libp2p: {answer.error}")
        return answer

    async def _exchange(self, request: bytes) -> control.Answer:
        self.writer.write(encode_frame(request))
        await self.writer.drain()
        return control.decode_answer(await read_frame(self.reader))


class ControlSocket:
    """The requests a daemon understands. Errors are Unavailable unless said otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection for several requests."""
        session = await self.open()
        try:
            yield session
        finally:
            session.writer.close()

    async def open(self) -> Session:
        """A connection for several requests, which the caller closes."""
        try:
            return Session(*await asyncio.open_unix_connection(str(self.path)))
        except OSError as error:
            raise daemon_gone() from error

    async def ask(self, request: bytes, timeout_s: float = CALL_TIMEOUT_S) -> control.Answer:
        """One request and its answer."""
        async with self.session() as session:
            return await session.ask(request, timeout_s)

    async def identify(self) -> tuple[PeerId | None, tuple[Multiaddr, ...]]:
        """The daemon's own id, and the addresses at which it believes it can be reached."""
        answer = await self.ask(control.identify_request())
        return answer.peer, tuple(_understood(answer.addresses))

    async def connect(self, peer: PeerId, addresses: Sequence[Multiaddr]) -> None:
        """Connect to a peer at one of these addresses, or at those the daemon knows of.

        ConfigError if another peer answers there.
        """
        raw = [address.without_peer.to_bytes() for address in addresses]
        request = control.connect_request(peer, raw, CONNECT_TIMEOUT_S)
        try:
            await self.ask(request, CONNECT_TIMEOUT_S + 2.0)
        except Unavailable as error:
            raise _connect_error(peer, addresses, error) from error

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection with a peer; it may come back."""
        await self.ask(control.disconnect_request(peer))

    async def connected_peers(self) -> frozenset[PeerId]:
        """Peers with an open connection."""
        return frozenset((await self.ask(control.list_peers_request())).peers)

    async def topic_peers(self, topic: str) -> frozenset[PeerId]:
        """Connected peers that subscribe to a topic."""
        return frozenset((await self.ask(control.list_topic_peers_request(topic))).peers)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[control.GossipMessage]]:
        """A topic's messages, our own included, until the daemon goes (Unavailable)."""
        async with self.session() as session:
            await session.ask(control.subscribe_request(topic))
            yield _messages(session.reader)

    async def open_stream(self, peer: PeerId, protocols: Sequence[str]) -> Stream:
        """A stream to a peer, for the first of the protocols it speaks; the caller closes it."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.path))
        except OSError as error:
            raise daemon_gone() from error
        request = control.open_stream_request(peer, protocols, CONNECT_TIMEOUT_S)
        with ExitStack() as undo:
            undo.callback(writer.close)
            answer = await Session(reader, writer).ask(request, CONNECT_TIMEOUT_S + 2.0)
            undo.pop_all()
        return Stream(peer, answer.protocol, reader, writer)

    async def handle_streams(self, socket_address: bytes, protocols: Sequence[str]) -> None:
        """Send incoming streams to a unix socket of ours; each begins with a StreamInfo frame."""
        await self.ask(control.handle_streams_request(socket_address, protocols))


class Publisher:
    """Publishes over one connection, opened when it is first needed and whenever it is gone.

    Opening one for every message costs more than the message.
    """

    def __init__(self) -> None:
        self._session: Session | None = None
        self._path: Path | None = None

    async def publish(self, socket: ControlSocket, topic: str, data: bytes) -> None:
        """Publish to a topic; Unavailable if the daemon is gone or refuses."""
        session = self._session
        if session is None or session.is_over or self._path != socket.path:
            self.close()
            session = await socket.open()
            self._session, self._path = session, socket.path
        await session.ask(control.publish_request(topic, data))

    def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            self._session.writer.close()
        self._session = None


async def read_frame(reader: asyncio.StreamReader, max_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """One frame and not a byte more; EOFError or OSError if the other side is gone."""
    prefix = b""
    while (decoded := _decode_length(prefix)) is None:
        prefix += await reader.readexactly(1)
    if decoded[0] > max_bytes:
        raise WireError(WireCode.TOO_LARGE, f"a frame of {decoded[0]} bytes")
    return await reader.readexactly(decoded[0])


def daemon_gone() -> Unavailable:
    """What every request says when the daemon is not there."""
    return Unavailable(
        "the libp2p daemon is not running", "it is started again by itself: try again in a moment"
    )


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[control.GossipMessage]:
    frames = FrameDecoder(MAX_FRAME_BYTES)
    while True:
        for frame in frames.feed(await _read_some(reader)):
            message = _gossip_or_none(frame)
            if message is not None:
                yield message


async def _read_some(reader: asyncio.StreamReader) -> bytes:
    try:
        data = await reader.read(_READ_BYTES)
    except OSError as error:
        raise daemon_gone() from error
    if not data:
        raise daemon_gone()
    return data


def _decode_length(prefix: bytes) -> tuple[int, int] | None:
    try:
        return decode_varint(prefix)
    except ValueError as error:
        cause = f"a frame's length has more than {MAX_VARINT_BYTES} bytes or superfluous ones"
        raise WireError(WireCode.MALFORMED, cause) from error


def _gossip_or_none(frame: bytes) -> control.GossipMessage | None:
    """Peers with other keys than Ed25519 may gossip in our topic; nobody of ours did."""
    try:
        return control.decode_gossip(frame)
    except WireError:
        return None


def _understood(raw_addresses: Sequence[bytes]) -> list[Multiaddr]:
    """The addresses of transports that we use."""
    decoded = (_address_or_none(raw) for raw in raw_addresses)
    return [address for address in decoded if address is not None]


def _address_or_none(raw: bytes) -> Multiaddr | None:
    try:
        return decode_multiaddr(raw)
    except ValueError:
        return None


def _connect_error(
    peer: PeerId, addresses: Sequence[Multiaddr], error: Unavailable
) -> Unavailable | ConfigError:
    """What the daemon's long story about failed dials comes down to."""
    where = ", ".join(str(address.without_peer) for address in addresses) or "any known address"
    if "peer id mismatch" in error.cause or "peer IDs don't match" in error.cause:
        return ConfigError(
            f"another peer than {peer} answers at {where}",
            "ask its operator for the present address, or check the id after /p2p/",
        )
    for sign, reason in _DIAL_FAILURES.items():
        if sign in error.cause:
            return Unavailable(f"peer {short_id(peer)} cannot be reached at {where}: {reason}")
    return Unavailable(f"peer {short_id(peer)} cannot be reached at {where}: {error.cause[:200]}")


_DIAL_FAILURES = {
    "dial to self attempted": "that is this peer itself",
    "connection refused": "nobody listens there",
    "i/o timeout": "no answer",
    "deadline exceeded": "no answer",
    "network is unreachable": "this machine has no route to it (IPv4 only, or IPv6 only?)",
    "no route to host": "this machine has no route to it",
    "no such host": "the name is not known",
    "no good addresses": "no address that this machine could dial",
    "no addresses": "no address is known",
    "dial backoff": "it could not be reached a moment ago",
}
