"""Attacks on the relay: its memory and its connections stay bounded, honest peers are served."""

from __future__ import annotations

import asyncio
import resource
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from psyche_p2p.ids import BlobHash
from psyche_p2p.net.relay.desk import RelayLimits
from psyche_p2p.net.relay.server import MAX_TICKET_BYTES
from psyche_p2p.net.relay.ticket import sign_ticket
from psyche_p2p.net.sockets import receive_frame
from psyche_p2p.wire import decode, encode_frame
from psyche_p2p.wire.relay import (
    RelayAnswer,
    RelayCode,
    RelayHello,
    RelayPurpose,
    RelayService,
    RelayTicket,
)
from tests.net.relay.relays import (
    CALLER,
    HIDDEN,
    RELAY,
    RUN,
    STRANGER,
    Scene,
    receive,
    round_trip,
    run,
    scene,
)

MIB = 1 << 20
PAYLOAD = bytes(range(256)) * 1000


async def connect(here: Scene, source: str = "127.0.0.1") -> socket.socket:
    """A bare connection to the relay, from one of this machine's many loopback addresses."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.bind((source, 0))
    target = (here.address.host, here.address.port)
    await asyncio.get_running_loop().sock_connect(connection, target)
    return connection


async def read_hello(connection: socket.socket) -> RelayHello:
    return decode(RelayHello, await receive_frame(connection, 1024))


async def is_ended(connection: socket.socket) -> bool:
    """Whether the relay ends the connection, whatever it says before."""
    try:
        return len(await receive(connection, 10_000)) < 10_000
    except ConnectionError:
        return True


def ticket(hello: RelayHello, purpose: RelayPurpose = RelayPurpose.LISTEN) -> RelayTicket:
    target = HIDDEN.peer_id if purpose is RelayPurpose.DIAL else None
    service = None if target is None else RelayService.MEMBERS
    return RelayTicket(
        RUN, CALLER.peer_id, RELAY.peer_id, hello.challenge, purpose, target, None, 60, service
    )


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a frame of 2**63 - 1 bytes
        b"\x80\x80\x80\x80\x10" + bytes(100),  # one of 4 GiB
        encode_frame(bytes(MAX_TICKET_BYTES + 1)),
        b"\x80" * 20,
        b"\x80\x00",
    ],
)
def test_a_giant_or_broken_length_ends_the_connection_at_once(junk: bytes) -> None:
    async def scenario() -> None:
        async with scene() as here:
            with await connect(here) as attacker:
                await read_hello(attacker)
                await asyncio.get_running_loop().sock_sendall(attacker, junk)
                assert await is_ended(attacker)
            assert await round_trip(here, PAYLOAD) == PAYLOAD

    run(scenario())


def test_unknown_tickets_are_refused_with_a_code() -> None:
    async def scenario() -> None:
        async with scene() as here:
            with await connect(here) as attacker:
                hello = await read_hello(attacker)
                forged = sign_ticket(ticket(hello), STRANGER)
                await asyncio.get_running_loop().sock_sendall(attacker, encode_frame(forged))
                answer = decode(RelayAnswer, await receive_frame(attacker, 1024))
                assert answer.code is RelayCode.BAD_TICKET
                assert await is_ended(attacker)
            assert here.server.counters.refused == 1

    run(scenario())


def test_a_replayed_ticket_opens_nothing() -> None:
    async def scenario() -> None:
        async with scene() as here:
            loop = asyncio.get_running_loop()
            with await connect(here) as honest, await connect(here) as attacker:
                overheard = sign_ticket(ticket(await read_hello(honest)), CALLER)
                await loop.sock_sendall(honest, encode_frame(overheard))
                first = decode(RelayAnswer, await receive_frame(honest, 1024))
                assert first.code is RelayCode.OK
                await read_hello(attacker)
                await loop.sock_sendall(attacker, encode_frame(overheard))
                again = decode(RelayAnswer, await receive_frame(attacker, 1024))
                assert again.code is RelayCode.BAD_TICKET

    run(scenario())


def test_only_the_one_called_can_answer_a_call() -> None:
    async def scenario() -> None:
        async with scene() as here:
            with await connect(here) as attacker:
                hello = await read_hello(attacker)
                guess = RelayTicket(
                    RUN,
                    CALLER.peer_id,
                    RELAY.peer_id,
                    hello.challenge,
                    RelayPurpose.ACCEPT,
                    None,
                    BlobHash(b"g" * 32),
                    60,
                )
                data = encode_frame(sign_ticket(guess, CALLER))
                await asyncio.get_running_loop().sock_sendall(attacker, data)
                answer = decode(RelayAnswer, await receive_frame(attacker, 1024))
                assert answer.code is RelayCode.BAD_TICKET

    run(scenario())


def test_a_slow_writer_loses_its_place() -> None:
    async def scenario() -> None:
        async with scene(RelayLimits(handshake_s=0.2)) as here:
            with await connect(here) as attacker:
                await read_hello(attacker)
                frame = encode_frame(bytes(300))

                async def drip() -> None:
                    for byte in frame:
                        await asyncio.get_running_loop().sock_sendall(attacker, bytes([byte]))
                        await asyncio.sleep(0.02)

                dripping = asyncio.ensure_future(drip())
                assert await is_ended(attacker)
                dripping.cancel()
                await asyncio.gather(dripping, return_exceptions=True)
            assert here.server.open_connections == 1  # the listener's

    run(scenario())


@pytest.fixture
def many_files() -> Iterator[int]:
    """As many open files as this machine allows."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def test_thousands_of_half_open_connections_cost_little_and_keep_nobody_out(
    many_files: int,
) -> None:
    connections = min(2000, many_files // 3)

    async def scenario() -> None:
        limits = RelayLimits(half_open=128, half_open_per_host=16)
        async with scene(limits) as here:
            with ExitStack() as stack:
                tracemalloc.start()
                for number in range(connections):
                    source = f"127.0.0.{2 + number % 200}"
                    stack.enter_context(await connect(here, source))
                    if number % 400 == 0:
                        assert await round_trip(here, PAYLOAD) == PAYLOAD
                    assert here.server.open_connections <= 128 + 1 + 2 + 16
                assert await round_trip(here, PAYLOAD) == PAYLOAD
                grown_bytes, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert grown_bytes < 16 * MIB  # the attacker's own sockets included
            assert here.server.counters.evicted > connections - 300

    run(scenario())


def test_a_reader_that_does_not_read_fills_two_buffers_and_no_more() -> None:
    async def scenario() -> None:
        async with scene() as here:
            with await here.caller.open_circuit(here.address, HIDDEN.peer_id) as circuit:
                flood = asyncio.ensure_future(
                    asyncio.get_running_loop().sock_sendall(circuit, bytes(256 * MIB))
                )
                stuck_at = -1
                while here.server.counters.carried_bytes != stuck_at:
                    stuck_at = here.server.counters.carried_bytes
                    await asyncio.sleep(0.3)
                assert not flood.done()
                tracemalloc.start()
                assert await round_trip(here, PAYLOAD) == PAYLOAD
                _, peak_bytes = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert peak_bytes < 8 * MIB
                flood.cancel()
                await asyncio.gather(flood, return_exceptions=True)

    run(scenario())
