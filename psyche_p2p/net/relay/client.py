"""The two ends of a circuit: a peer that others reach through a relay, and one that reaches it.

Both join the circuit to a plain loopback port, so that whatever speaks TLS over TCP works through
it unchanged and the relay sees nothing but ciphertext.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from typing_extensions import Self

from psyche_p2p.errors import PsycheError, RemoteError, Unavailable, WireError
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, PeerId, RunId
from psyche_p2p.log import get_logger
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.detours import Detours
from psyche_p2p.net.relay.probe import PROBE_BYTES
from psyche_p2p.net.relay.splice import splice
from psyche_p2p.net.relay.ticket import sign_ticket
from psyche_p2p.net.sockets import connect_tcp, listen_tcp, prepare, receive_frame
from psyche_p2p.wire.codec import decode, max_encoded_bytes
from psyche_p2p.wire.framing import encode_frame
from psyche_p2p.wire.relay import (
    RelayAnswer,
    RelayCall,
    RelayCode,
    RelayHello,
    RelayPurpose,
    RelayService,
    RelayTicket,
)

CONNECT_S = 10.0
ANSWER_S = 30.0
LISTEN_LIFE_S = 3600
CIRCUIT_LIFE_S = 3600
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
MAX_CIRCUITS = 48
_ECHO_BLOCK_BYTES = 16 << 10
_LOOPBACK = "127.0.0.1"
_REFUSALS = {
    RelayCode.BAD_TICKET: ("did not accept our ticket", "update the older of the two peers"),
    RelayCode.NOT_A_MEMBER: ("does not know us as a member", "wait until we are admitted"),
    RelayCode.NOT_LISTENING: ("does not know the peer we want", "try another relay"),
    RelayCode.BUSY: ("has no place for us", "try another relay, or later"),
    RelayCode.NO_ANSWER: ("got no answer from the peer we want", "try later"),
}
MessageT = TypeVar("MessageT")
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RelayUser:
    """A peer as it presents itself to the relays of a run."""

    identity: Identity
    run_id: RunId

    async def open_circuit(
        self,
        relay: RelayAddress,
        target: PeerId,
        service: RelayService = RelayService.MEMBERS,
    ) -> socket.socket:
        """A connection to another member through a relay."""
        return await self.ask(
            relay, RelayPurpose.DIAL, CIRCUIT_LIFE_S, target=target, service=service
        )

    async def ask(
        self,
        relay: RelayAddress,
        purpose: RelayPurpose,
        life_s: int,
        *,
        target: PeerId | None = None,
        call: BlobHash | None = None,
        service: RelayService | None = None,
    ) -> socket.socket:
        """The connection on which the relay granted this; Unavailable or RemoteError otherwise."""
        connection = await connect_tcp(relay.host, relay.port, CONNECT_S)
        with ExitStack() as undo:
            undo.callback(connection.close)
            try:
                hello = await _receive(connection, RelayHello)
                _require_same(relay, hello)
                ticket = RelayTicket(
                    run_id=self.run_id,
                    peer=self.identity.peer_id,
                    relay=relay.peer,
                    challenge=hello.challenge,
                    purpose=purpose,
                    target=target,
                    call=call,
                    life_s=life_s,
                    service=service,
                )
                await _send(connection, sign_ticket(ticket, self.identity))
                _require_ok(relay, await _receive(connection, RelayAnswer))
            except (OSError, WireError, asyncio.TimeoutError) as error:
                raise Unavailable(f"{relay} broke off: {str(error) or 'no answer'}") from error
            undo.pop_all()
        return connection


@dataclass(frozen=True, slots=True)
class LocalDoors:
    """Where this machine's own servers listen, for the circuits that end here."""

    members: int
    joiners: int | None = None
    host: str = _LOOPBACK
    detours: Detours | None = None
    """Told which connections come from circuits and not from here."""

    def port_of(self, service: RelayService) -> int | None:
        return self.members if service is RelayService.MEMBERS else self.joiners


class RelayListener:
    """Keeps a peer reachable through a relay, inside `async with`: circuits end at local ports."""

    def __init__(self, user: RelayUser, relay: RelayAddress, doors: LocalDoors) -> None:
        self.is_listening = asyncio.Event()
        self.last_problem = "no answer"
        self._is_silent = asyncio.Event()
        self._user = user
        self._relay = relay
        self._doors = doors
        self._listening: asyncio.Task[None] | None = None
        self._circuits: set[asyncio.Task[None]] = set()

    async def lost(self, patience_s: float) -> None:
        """Wait until the relay has been away for so long."""
        while True:
            await self._is_silent.wait()
            try:
                await asyncio.wait_for(self.is_listening.wait(), patience_s)
            except asyncio.TimeoutError:
                return

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen(), name="relay-listener")
        return self

    async def __aexit__(self, *_: object) -> None:
        await _end_all({task for task in (self._listening,) if task is not None} | self._circuits)

    async def _listen(self) -> None:
        """Register again whenever the registration ends, ever more patiently while it fails."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                with await self._user.ask(
                    self._relay, RelayPurpose.LISTEN, LISTEN_LIFE_S
                ) as connection:
                    self._is_silent.clear()
                    self.is_listening.set()
                    backoff_s = FIRST_BACKOFF_S
                    await self._answer_calls(connection)
            except (PsycheError, OSError) as error:
                self.last_problem = str(error)
                _log.debug("no relay", relay=str(self._relay), cause=str(error))
            self.is_listening.clear()
            self._is_silent.set()
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    async def _answer_calls(self, connection: socket.socket) -> None:
        max_bytes = max_encoded_bytes(RelayCall)
        while True:
            call = decode(RelayCall, await receive_frame(connection, max_bytes))
            if len(self._circuits) < MAX_CIRCUITS:
                task = asyncio.create_task(self._answer(call))
                self._circuits.add(task)
                task.add_done_callback(self._circuits.discard)

    async def _answer(self, call: RelayCall) -> None:
        try:
            if call.service is RelayService.ECHO:
                with await self._take(call) as circuit:
                    await _echo(circuit)
            else:
                await self._join(call)
        except (PsycheError, OSError) as error:
            _log.info("a relayed circuit failed", caller=call.caller, cause=str(error))

    async def _join(self, call: RelayCall) -> None:
        port, detours = self._doors.port_of(call.service), self._doors.detours
        if port is None:
            return
        with (
            await connect_tcp(self._doors.host, port, CONNECT_S) as local,
            detours.noted(local) if detours is not None else nullcontext(),
            await self._take(call) as circuit,
        ):
            await splice(local, circuit, _at_once)

    async def _take(self, call: RelayCall) -> socket.socket:
        return await self._user.ask(
            self._relay, RelayPurpose.ACCEPT, CIRCUIT_LIFE_S, call=call.call
        )


class RelayDialer:
    """A local port whose every connection goes to one member through a relay."""

    def __init__(
        self,
        user: RelayUser,
        relay: RelayAddress,
        target: PeerId,
        service: RelayService = RelayService.MEMBERS,
    ) -> None:
        self._user = user
        self._relay = relay
        self._target = target
        self._service = service
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._circuits: set[asyncio.Task[None]] = set()
        self._has_failed = False

    @property
    def port(self) -> int:
        """Where to connect, on the loopback."""
        assert self._socket is not None, "the dialer has not been started"
        port: int = self._socket.getsockname()[1]
        return port

    def open(self) -> None:
        """Listen from now on, inside a running loop, until `close`."""
        self._socket = listen_tcp(_LOOPBACK, 0)
        self._accepting = asyncio.create_task(self._accept(self._socket), name="relay-dialer")

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End every circuit."""
        await _end_all({task for task in (self._accepting,) if task is not None} | self._circuits)
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            local, _ = await loop.sock_accept(listener)
            if len(self._circuits) >= MAX_CIRCUITS:
                local.close()
                continue
            task = asyncio.create_task(self._dial(local))
            self._circuits.add(task)
            task.add_done_callback(self._circuits.discard)

    async def _dial(self, local: socket.socket) -> None:
        prepare(local)
        try:
            opening = self._user.open_circuit(self._relay, self._target, self._service)
            with local, await opening as circuit:
                self._has_failed = False
                await splice(local, circuit, _at_once)
        except (PsycheError, OSError) as error:
            say = _log.debug if self._has_failed else _log.info  # gRPC tries again all the time
            say("a circuit cannot be opened", target=self._target, cause=str(error))
            self._has_failed = True


async def _echo(circuit: socket.socket) -> None:
    """Send back what comes, as much as a probe sends."""
    loop, left = asyncio.get_running_loop(), PROBE_BYTES
    while left > 0 and (data := await loop.sock_recv(circuit, min(left, _ECHO_BLOCK_BYTES))):
        await loop.sock_sendall(circuit, data)
        left -= len(data)
    circuit.shutdown(socket.SHUT_WR)
    await loop.sock_recv(circuit, 1)  # until the prober has what it wants


def _at_once(_: int) -> float:
    return 0.0


async def _end_all(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _send(connection: socket.socket, data: bytes) -> None:
    sending = asyncio.get_running_loop().sock_sendall(connection, encode_frame(data))
    await asyncio.wait_for(sending, ANSWER_S)


async def _receive(connection: socket.socket, message_type: type[MessageT]) -> MessageT:
    receiving = receive_frame(connection, max_encoded_bytes(message_type))
    return decode(message_type, await asyncio.wait_for(receiving, ANSWER_S))


def _require_same(relay: RelayAddress, hello: RelayHello) -> None:
    if hello.relay != relay.peer:
        cause = f"at {relay} there is {hello.relay}, not {relay.peer}"
        raise RemoteError(cause, "correct the relay's address")


def _require_ok(relay: RelayAddress, answer: RelayAnswer) -> None:
    if answer.code is not RelayCode.OK:
        what, cure = _REFUSALS[answer.code]
        raise Unavailable(f"{relay} {what}", cure)
