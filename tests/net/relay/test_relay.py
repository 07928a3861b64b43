"""The relay on real sockets: circuits, their ends, their limits, and TLS through them."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from psyche_p2p.certificate import make_certificate
from psyche_p2p.errors import RemoteError, ResourceError, Unavailable
from psyche_p2p.ids import PeerId
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.client import (
    LocalDoors,
    RelayDialer,
    RelayListener,
    RelayUser,
)
from psyche_p2p.net.relay.desk import RelayLimits
from psyche_p2p.net.relay.server import RelayServer
from psyche_p2p.wire.relay import RelayPurpose, RelayService
from tests.echo import echo
from tests.net.relay.relays import (
    CALLER,
    HIDDEN,
    RELAY,
    RUN,
    STRANGER,
    receive,
    round_trip,
    run,
    scene,
)


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks go on until something holds that has no event of its own."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def test_bytes_go_through_whole_and_both_ways() -> None:
    async def scenario() -> None:
        async with scene() as here:
            data = random.Random(1).randbytes(5_000_000)
            assert await round_trip(here, data) == data
            assert here.server.counters.carried_bytes == 2 * len(data)

    run(scenario())


def test_an_orderly_end_passes_through_and_frees_the_place() -> None:
    async def scenario() -> None:
        async with scene(RelayLimits(circuits=1)) as here:
            for _ in range(3):
                circuit = await here.caller.open_circuit(here.address, HIDDEN.peer_id)
                await asyncio.get_running_loop().sock_sendall(circuit, b"bye")
                circuit.shutdown(1)
                assert await receive(circuit, 100) == b"bye"
                circuit.close()
                await until(lambda: here.server.open_connections == 1)

    run(scenario())


def test_tls_goes_through_end_to_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        certificate = make_certificate(HIDDEN, 1_700_000_000, 4_000_000_000)
        (tmp_path / "cert.pem").write_bytes(certificate.certificate_pem)
        (tmp_path / "key.pem").write_bytes(certificate.private_key_pem)
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ours.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        theirs.load_verify_locations(tmp_path / "cert.pem")

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"secret greeting")
            writer.close()

        async with scene() as here:
            server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=ours)
            port = server.sockets[0].getsockname()[1]
            async with (
                RelayListener(RelayUser(HIDDEN, RUN), here.address, LocalDoors(port)) as listener,
                RelayDialer(here.caller, here.address, HIDDEN.peer_id) as dialer,
            ):
                await listener.is_listening.wait()
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", dialer.port, ssl=theirs, server_hostname="peer"
                )
                assert await reader.read(-1) == b"secret greeting"
                writer.close()
            server.close()

    run(scenario())


def test_a_newer_registration_takes_over() -> None:
    async def scenario() -> None:
        async with scene() as here:
            hidden = RelayUser(HIDDEN, RUN)
            with await hidden.ask(here.address, RelayPurpose.LISTEN, 60) as newer:
                calling = asyncio.ensure_future(
                    here.caller.open_circuit(here.address, HIDDEN.peer_id)
                )
                assert await receive(newer, 1) != b""
                calling.cancel()

    run(scenario())


def test_the_listener_registers_again_when_the_relay_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("psyche_p2p.net.relay.client.FIRST_BACKOFF_S", 0.01)

    async def scenario() -> None:
        def anyone(_run: object, _peer: PeerId) -> bool:
            return True

        async with RelayServer(RELAY.peer_id, anyone, host="127.0.0.1") as first:
            port = first.port
            address = RelayAddress("127.0.0.1", port, RELAY.peer_id)
            listener = RelayListener(RelayUser(HIDDEN, RUN), address, LocalDoors(1))
            await listener.__aenter__()
            await listener.is_listening.wait()
        await until(lambda: not listener.is_listening.is_set())
        async with RelayServer(RELAY.peer_id, anyone, host="127.0.0.1", port=port):
            await listener.is_listening.wait()
            await listener.__aexit__()

    run(scenario())


def test_refusals_say_why() -> None:
    async def scenario() -> None:
        async with scene() as here:
            with pytest.raises(Unavailable, match="does not know us as a member"):
                await RelayUser(STRANGER, RUN).open_circuit(here.address, HIDDEN.peer_id)
            with pytest.raises(Unavailable, match="does not know the peer we want"):
                await RelayUser(HIDDEN, RUN).open_circuit(here.address, CALLER.peer_id)
            elsewhere = RelayAddress("127.0.0.1", here.address.port, STRANGER.peer_id)
            with pytest.raises(RemoteError, match="correct the relay's address"):
                await here.caller.open_circuit(elsewhere, HIDDEN.peer_id)
            here.members.discard(HIDDEN.peer_id)
            with pytest.raises(Unavailable, match="does not know the peer we want"):
                await here.caller.open_circuit(here.address, HIDDEN.peer_id)
        with pytest.raises(Unavailable, match=r"cannot connect to 127\.0\.0\.1"):
            await here.caller.open_circuit(here.address, HIDDEN.peer_id)

    run(scenario())


def test_a_taken_port_is_one_line() -> None:
    async def scenario() -> None:
        async with scene() as here:
            second = RelayServer(
                RELAY.peer_id, lambda *_: True, host="127.0.0.1", port=here.address.port
            )
            with pytest.raises(ResourceError, match=r"Address already in use; choose another port"):
                await second.__aenter__()

    run(scenario())


def test_a_peer_that_does_not_answer_is_given_up() -> None:
    async def scenario() -> None:
        limits = RelayLimits(answer_s=0.05)
        async with scene(limits) as here:
            hidden = RelayUser(HIDDEN, RUN)
            silent = await hidden.ask(here.address, RelayPurpose.LISTEN, 60)
            with silent, pytest.raises(Unavailable, match="got no answer"):
                await here.caller.open_circuit(here.address, HIDDEN.peer_id)

    run(scenario())


@pytest.mark.parametrize(
    ("limits", "loses_membership"),
    [
        (RelayLimits(idle_s=0.1, recheck_s=0.02), False),
        (RelayLimits(recheck_s=0.02), True),
    ],
)
def test_an_idle_circuit_and_a_former_members_are_cut(
    limits: RelayLimits, loses_membership: bool
) -> None:
    async def scenario() -> None:
        async with scene(limits) as here:
            with await here.caller.open_circuit(here.address, HIDDEN.peer_id) as circuit:
                await asyncio.get_running_loop().sock_sendall(circuit, b"x")
                assert await receive(circuit, 1) == b"x"
                if loses_membership:
                    here.members.discard(CALLER.peer_id)
                assert await receive(circuit, 1) == b""

    run(scenario())


def test_a_circuit_ends_with_its_ticket() -> None:
    async def scenario() -> None:
        async with scene(RelayLimits(recheck_s=0.02)) as here:
            circuit = await here.caller.ask(
                here.address,
                RelayPurpose.DIAL,
                1,
                target=HIDDEN.peer_id,
                service=RelayService.MEMBERS,
            )
            began_s = asyncio.get_running_loop().time()
            with circuit:
                assert await receive(circuit, 1) == b""
            assert asyncio.get_running_loop().time() - began_s > 0.9

    run(scenario())


def test_the_rate_is_a_ceiling() -> None:
    async def scenario() -> None:
        async with scene(RelayLimits(bytes_per_s=10e6)) as here:
            began_s = asyncio.get_running_loop().time()
            await round_trip(here, bytes(2_500_000))  # 5 MB both ways, 1 MB of it at once
            took_s = asyncio.get_running_loop().time() - began_s
            assert took_s > 0.35

    run(scenario())


@pytest.mark.parametrize(
    "limits",
    [
        RelayLimits(circuits=2),
        RelayLimits(circuits_per_peer=2),
        RelayLimits(circuits_per_pair=2),
        RelayLimits(dials_per_s=0.001, dials_burst=2),
    ],
)
def test_places_are_limited_in_all_by_peer_by_pair_and_by_time(limits: RelayLimits) -> None:
    async def scenario() -> None:
        async with scene(limits) as here:
            open_ones = [
                await here.caller.open_circuit(here.address, HIDDEN.peer_id) for _ in range(2)
            ]
            with pytest.raises(Unavailable, match="has no place for us; try another relay"):
                await here.caller.open_circuit(here.address, HIDDEN.peer_id)
            for each in open_ones:
                each.close()

    run(scenario())


def test_a_caller_that_takes_its_places_leaves_others_theirs() -> None:
    async def scenario() -> None:
        async with scene(RelayLimits(circuits_per_pair=1)) as here:
            here.members.add(STRANGER.peer_id)
            with await here.caller.open_circuit(here.address, HIDDEN.peer_id):
                other = RelayUser(STRANGER, RUN)
                (await other.open_circuit(here.address, HIDDEN.peer_id)).close()

    run(scenario())


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_it_works_over_ipv6_alone() -> None:
    async def scenario() -> None:
        async with RelayServer(RELAY.peer_id, lambda *_: True, host="::1") as relay:
            address = RelayAddress("::1", relay.port, RELAY.peer_id)
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with RelayListener(RelayUser(HIDDEN, RUN), address, LocalDoors(port)) as listener:
                await listener.is_listening.wait()
                caller = RelayUser(CALLER, RUN)
                with await caller.open_circuit(address, HIDDEN.peer_id) as circuit:
                    await asyncio.get_running_loop().sock_sendall(circuit, b"six")
                    assert await receive(circuit, 3) == b"six"
            server.close()

    run(scenario())
