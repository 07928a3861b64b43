"""The relay itself: checks a ticket, joins two connections, and carries what it cannot read.

It is no open proxy: who can be reached through it is a member of a run it serves, strangers are
joined only to its doors for newcomers, few at a time, and it connects to nobody. It sends a
stranger one small frame for each TCP connection, so it amplifies nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from typing_extensions import Self

from psyche_p2p.errors import WireError
from psyche_p2p.ids import BlobHash, PeerId, RunId
from psyche_p2p.log import get_logger
from psyche_p2p.net.limits import CallerBuckets, TokenBucket
from psyche_p2p.net.relay.desk import Desk, RelayLimits
from psyche_p2p.net.relay.half_open import HalfOpen
from psyche_p2p.net.relay.splice import splice
from psyche_p2p.net.relay.ticket import (
    IsMember,
    TicketRefused,
    check_ticket,
    is_guest,
    read_ticket,
)
from psyche_p2p.net.sockets import listen_tcp, prepare, receive_frame
from psyche_p2p.wire.codec import encode, max_encoded_bytes
from psyche_p2p.wire.framing import encode_frame
from psyche_p2p.wire.relay import (
    RelayAnswer,
    RelayCall,
    RelayCode,
    RelayHello,
    RelayPurpose,
    RelayTicket,
    SignedRelayTicket,
)

MAX_TICKET_BYTES = max_encoded_bytes(SignedRelayTicket)
_CHALLENGE_BYTES = 32
_ACCEPT_RETRY_S = 0.1
_BURST_S = 0.1
_log = get_logger(__name__)
LookAgain = Callable[[RunId], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Listener:
    """A peer that waits for calls."""

    calls: asyncio.Queue[RelayCall]
    displaced: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class RelayCounters:
    """What the relay did so far."""

    circuits: int = 0
    carried_bytes: int = 0
    refused: int = 0
    evicted: int = 0


class RelayServer:
    """Listens inside `async with`."""

    def __init__(
        self,
        relay: PeerId,
        is_member: IsMember,
        limits: RelayLimits | None = None,
        *,
        host: str = "0.0.0.0",
        port: int = 0,
        look_again: LookAgain | None = None,
    ) -> None:
        """`look_again` is asked for a run's newest members before anyone is refused as none."""
        self.limits = limits or RelayLimits()
        self.counters = RelayCounters()
        self._relay = relay
        self._is_member = is_member
        self._look_again = look_again
        self._endpoint = (host, port)
        self._desk: Desk[_Listener, asyncio.Future[socket.socket]] = Desk(self.limits)
        self._half_open: HalfOpen[asyncio.Task[None]] = HalfOpen(
            self.limits.half_open, self.limits.half_open_per_host
        )
        total_rate = self.limits.total_bytes_per_s
        self._total_bytes = TokenBucket(total_rate, total_rate * _BURST_S)
        self._dials = CallerBuckets(self.limits.dials_per_s, self.limits.dials_burst)
        self._connections: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._socket is not None, "the relay has not been started"
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def open_connections(self) -> int:
        """Half-open ones, listeners and both ends of circuits."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        self._socket = listen_tcp(*self._endpoint)
        self._accepting = asyncio.create_task(self._accept_connections(), name="relay")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._accepting, *self._connections) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    async def _accept_connections(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._socket)
            except OSError as error:  # too many open files, say: the open ones will end
                _log.warning("the relay cannot accept a connection", cause=str(error))
                await asyncio.sleep(_ACCEPT_RETRY_S)
                continue
            task = asyncio.create_task(self._serve(connection, address[0]))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            evicted = self._half_open.enter(task, address[0])
            if evicted is not None:
                self.counters.evicted += 1
                evicted.cancel()

    async def _serve(self, connection: socket.socket, host: str) -> None:
        """One connection, from its first byte to its last."""
        task = asyncio.current_task()
        assert task is not None
        with ExitStack() as stack:
            stack.callback(connection.close)
            try:
                with suppress(asyncio.TimeoutError, OSError, WireError):
                    ticket = await asyncio.wait_for(
                        self._admit(connection), self.limits.handshake_s
                    )
                    self._half_open.leave(task)
                    await self._grant(connection, host, ticket, stack)
            except TicketRefused as refusal:
                self.counters.refused += 1
                with suppress(asyncio.TimeoutError, OSError):
                    await self._send(connection, RelayAnswer(refusal.code))
            finally:
                self._half_open.leave(task)

    async def _admit(self, connection: socket.socket) -> RelayTicket:
        prepare(connection)
        hello = RelayHello(self._relay, BlobHash(os.urandom(_CHALLENGE_BYTES)))
        await self._send(connection, hello)
        data = await receive_frame(connection, MAX_TICKET_BYTES)
        try:
            return check_ticket(data, hello, self._is_member)
        except TicketRefused as refusal:
            if refusal.code is not RelayCode.NOT_A_MEMBER or self._look_again is None:
                raise
        await self._look_again(read_ticket(data)[0].run_id)
        return check_ticket(data, hello, self._is_member)

    async def _grant(
        self, connection: socket.socket, host: str, ticket: RelayTicket, stack: ExitStack
    ) -> None:
        match ticket.purpose:
            case RelayPurpose.LISTEN:
                await self._listen(connection, ticket)
            case RelayPurpose.DIAL:
                await self._dial(connection, host, ticket)
            case RelayPurpose.ACCEPT:
                self._desk.take_call(ticket).set_result(connection)
                stack.pop_all()  # the caller's task closes it now

    async def _listen(self, connection: socket.socket, ticket: RelayTicket) -> None:
        listener = _Listener(asyncio.Queue(self.limits.circuits_per_peer))
        former = self._desk.add_listener(ticket, listener)
        if former is not None:
            former.displaced.set()
        try:
            await self._send(connection, RelayAnswer(RelayCode.OK))
            await self._pass_calls_on(connection, listener, ticket.life_s)
        finally:
            self._desk.remove_listener(ticket, listener)

    async def _pass_calls_on(
        self, connection: socket.socket, listener: _Listener, life_s: float
    ) -> None:
        """Until the listener leaves, is displaced, or its ticket's life is over."""
        loop = asyncio.get_running_loop()
        tasks = [
            asyncio.ensure_future(loop.sock_recv(connection, 1)),  # its end, or what is not allowed
            asyncio.ensure_future(listener.displaced.wait()),
            asyncio.ensure_future(self._send_calls(connection, listener.calls)),
        ]
        try:
            await asyncio.wait(tasks, timeout=life_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_calls(self, connection: socket.socket, calls: asyncio.Queue[RelayCall]) -> None:
        while True:
            await self._send(connection, await calls.get())

    async def _dial(self, near: socket.socket, host: str, ticket: RelayTicket) -> None:
        # Identities cost a newcomer nothing, addresses do.
        caller = host if is_guest(ticket) else ticket.peer
        if not self._dials.of(caller).try_take(1, asyncio.get_running_loop().time()):
            raise TicketRefused(RelayCode.BUSY)
        listener = self._desk.find_listener(ticket)
        if not self._are_members(ticket):
            raise TicketRefused(RelayCode.NOT_LISTENING)
        with self._desk.circuit(ticket), await self._call(listener, ticket) as far:
            self.counters.circuits += 1
            for end in (far, near):
                await self._send(end, RelayAnswer(RelayCode.OK))
            await self._carry(near, far, ticket)

    async def _call(self, listener: _Listener, ticket: RelayTicket) -> socket.socket:
        """The connection with which the target answers."""
        call = BlobHash(os.urandom(_CHALLENGE_BYTES))
        promise: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        with self._desk.call(ticket, call, promise):
            try:
                assert ticket.service is not None, "a checked dial says what for"
                listener.calls.put_nowait(RelayCall(call, ticket.peer, ticket.service))
            except asyncio.QueueFull:
                raise TicketRefused(RelayCode.BUSY) from None
            try:
                await asyncio.wait({promise}, timeout=self.limits.answer_s)
            except asyncio.CancelledError:
                if promise.done():
                    promise.result().close()
                raise
            if not promise.done():
                raise TicketRefused(RelayCode.NO_ANSWER)
            return promise.result()

    async def _carry(self, near: socket.socket, far: socket.socket, ticket: RelayTicket) -> None:
        """Splice until the ends, the idle limit, the ticket's life or a lost membership."""
        loop, limits = asyncio.get_running_loop(), self.limits
        own_bytes = TokenBucket(limits.bytes_per_s, limits.bytes_per_s * _BURST_S)
        moved_s = loop.time()

        def pace(size_bytes: int) -> float:
            nonlocal moved_s
            moved_s = loop.time()
            self.counters.carried_bytes += size_bytes
            own_s = own_bytes.spend(size_bytes, moved_s)
            return max(own_s, self._total_bytes.spend(size_bytes, moved_s))

        ends_s = moved_s + ticket.life_s
        carrying = asyncio.ensure_future(splice(near, far, pace))
        try:
            while not carrying.done() and loop.time() < min(ends_s, moved_s + limits.idle_s):
                if not self._are_members(ticket):
                    break
                await asyncio.wait({carrying}, timeout=limits.recheck_s)
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)

    def _are_members(self, ticket: RelayTicket) -> bool:
        ends = (ticket.target,) if is_guest(ticket) else (ticket.peer, ticket.target)
        return all(end is not None and self._is_member(ticket.run_id, end) for end in ends)

    async def _send(self, connection: socket.socket, message: object) -> None:
        sending = asyncio.get_running_loop().sock_sendall(connection, encode_frame(encode(message)))
        await asyncio.wait_for(sending, self.limits.handshake_s)
