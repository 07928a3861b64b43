"""Nobody without a trusted certificate reaches a member's service: on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from psyche_p2p.certificate import TLS_SERVER_NAME, make_certificate
from psyche_p2p.clock import ManualClock
from psyche_p2p.errors import PsycheError, RemoteError
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.errors import NotAdmitted, NotHeld, Unreachable
from psyche_p2p.net.methods import JOINER_SERVICE, MEMBER_SERVICE
from psyche_p2p.net.tls import MemberTrust, pin_certificate
from tests.net.builders import (
    NO_DIGEST,
    Host,
    Person,
    joiner_client,
    make_blob,
    make_person,
    member_client,
    serve_joiners,
    serve_members,
)

SERVER, ALICE, BOB = (make_person(name) for name in ("server", "alice", "bob"))


def run_with_server(
    folder: Path, members: list[Person], scene: Callable[[Host], Awaitable[None]]
) -> None:
    async def play() -> None:
        async with serve_members(SERVER, folder, members) as host:
            await scene(host)

    asyncio.run(play())


async def ask(host: Host, person: Person) -> None:
    async with member_client(person) as client:
        await client.have(host.contact(), [])


async def ask_until_served(host: Host, person: Person) -> None:
    """A connection that is made while the server is renewed may still meet the old one."""
    for _ in range(20):
        with contextlib.suppress(Unreachable):
            await ask(host, person)
            return
        await asyncio.sleep(0.05)
    await ask(host, person)


def test_a_member_is_served(tmp_path: Path) -> None:
    run_with_server(tmp_path, [ALICE], lambda host: ask(host, ALICE))


def test_a_stranger_is_refused_and_served_once_admitted(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        with pytest.raises(Unreachable):
            await ask(host, BOB)
        await host.trust_only(ALICE, BOB)
        await ask_until_served(host, BOB)

    run_with_server(tmp_path, [ALICE], scene)


def test_with_no_members_not_even_the_server_itself_is_served(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        with pytest.raises(NotAdmitted):
            await ask(host, SERVER)
        with pytest.raises(Unreachable):
            await ask(host, ALICE)

    run_with_server(tmp_path, [], scene)


def test_a_caller_without_a_certificate_is_refused(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        credentials = grpc.ssl_channel_credentials(SERVER.pinned.pem)
        await require_refused(host, credentials)

    run_with_server(tmp_path, [ALICE], scene)


def test_a_stolen_certificate_with_another_key_is_refused(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        credentials = grpc.ssl_channel_credentials(
            SERVER.pinned.pem, BOB.tls.private_key_pem, ALICE.tls.certificate_pem
        )
        await require_refused(host, credentials)

    run_with_server(tmp_path, [ALICE], scene)


async def require_refused(host: Host, credentials: grpc.ChannelCredentials) -> None:
    options = [("grpc.ssl_target_name_override", TLS_SERVER_NAME)]
    async with grpc.aio.secure_channel(host.contact().address, credentials, options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{MEMBER_SERVICE}/Have")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("span", [(-7200, -3600), (3600, 7200)], ids=["expired", "not yet valid"])
def test_a_members_certificate_out_of_its_time_is_refused(
    span: tuple[int, int], tmp_path: Path
) -> None:
    now = int(time.time())
    late = make_person("late", (now + span[0], now + span[1]))

    async def scene(host: Host) -> None:
        with pytest.raises((Unreachable, NotAdmitted)):
            await ask(host, late)

    run_with_server(tmp_path, [ALICE, late], scene)


def test_a_certificate_that_expires_on_an_open_channel_is_no_longer_known() -> None:
    clock = ManualClock(ALICE.pinned.not_after_ms)
    trust = MemberTrust(clock)
    trust.replace([ALICE.pinned])
    assert trust.find_member(ALICE.pinned.fingerprint) == ALICE.peer
    clock.advance_ms(1)
    assert trust.find_member(ALICE.pinned.fingerprint) is None


def test_a_removed_member_is_refused_on_its_open_channel(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        async with member_client(ALICE) as client:
            await client.have(host.contact(), [])
            host.trust.replace([BOB.pinned])  # the channel stays: every call asks
            with pytest.raises(NotAdmitted):
                await client.have(host.contact(), [])
            for method in (
                client.compare(host.contact(), NO_DIGEST),
                client.push(host.contact(), []),
                client.manifest(host.contact(), make_blob(1).blob_hash),
            ):
                with pytest.raises(NotAdmitted):
                    await method

    run_with_server(tmp_path, [ALICE], scene)


def test_a_member_removed_in_the_middle_of_a_stream_gets_no_more(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        blob_hash = host.store.add(make_blob(30))
        received = []
        async with member_client(ALICE) as client:

            async def read_on() -> None:
                async for chunk in client.fetch(host.contact(), blob_hash, range(30)):
                    host.trust.replace([BOB.pinned])
                    received.append(chunk)

            with pytest.raises(NotAdmitted):
                await read_on()
        assert 0 < len(received) < 30

    run_with_server(tmp_path, [ALICE], scene)


def test_calls_go_on_while_the_members_change(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        blob_hash = host.store.add(make_blob(20))
        async with member_client(ALICE) as client:
            received = 0
            async for _ in client.fetch(host.contact(), blob_hash, range(20)):
                if received == 2:
                    await host.trust_only(ALICE, BOB)
                    await ask_until_served(host, BOB)
                received += 1
            assert received == 20

    run_with_server(tmp_path, [ALICE], scene)


def test_a_member_with_a_new_certificate_loses_the_old_one(tmp_path: Path) -> None:
    now = int(time.time())
    renewed = make_person("alice", (now - 60, now + 7200))
    assert renewed.peer == ALICE.peer

    async def scene(host: Host) -> None:
        await ask(host, ALICE)
        await host.trust_only(renewed)
        await ask_until_served(host, renewed)
        with pytest.raises((Unreachable, NotAdmitted)):
            await ask(host, ALICE)

    run_with_server(tmp_path, [ALICE], scene)


def test_a_server_with_another_certificate_is_not_spoken_to(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        impostor = Contact(BOB.pinned, host.contact().address)
        async with member_client(ALICE) as client:
            with pytest.raises(Unreachable):
                await client.have(impostor, [])

    run_with_server(tmp_path, [ALICE], scene)


def test_a_certificate_is_pinned_to_whoever_vouched_for_it() -> None:
    tls = ALICE.tls
    with pytest.raises(RemoteError):
        pin_certificate(BOB.peer, tls.certificate_der, tls.signature)
    with pytest.raises(RemoteError):
        pin_certificate(ALICE.peer, tls.certificate_der, BOB.tls.signature)
    with pytest.raises(RemoteError):
        pin_certificate(ALICE.peer, b"\0" * 100_000, tls.signature)


@pytest.mark.slow
def test_two_hundred_members_can_all_call(tmp_path: Path) -> None:
    crowd = [make_person(f"member {number}") for number in range(200)]

    async def scene(host: Host) -> None:
        for person in crowd[::40]:
            await ask(host, person)

    run_with_server(tmp_path, crowd, scene)


def test_a_joiner_reaches_the_parameters_and_nothing_of_the_members(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        public, private = host.store.add(make_blob(2, 1)), host.store.add(make_blob(2, 2))
        async with serve_joiners(host, [public]) as server, joiner_client() as client:
            contact = host.contact(server.ports[0])
            assert [len(chunk) async for chunk in client.fetch(contact, public, [0])] == [1 << 20]
            with pytest.raises(NotHeld):
                await client.manifest(contact, private)
            with pytest.raises(NotHeld):
                _ = [chunk async for chunk in client.fetch(contact, private, [0])]
            seen = await client.have(contact, [public, private])
            assert [holding.chunk_count for holding in seen] == [2, 0]
            await require_no_member_methods(contact)
            with pytest.raises(Unreachable):  # the members' port asks for a certificate
                await client.manifest(host.contact(), public)

    run_with_server(tmp_path, [ALICE], scene)


async def require_no_member_methods(contact: Contact) -> None:
    options = [("grpc.ssl_target_name_override", TLS_SERVER_NAME)]
    credentials = grpc.ssl_channel_credentials(SERVER.pinned.pem)
    paths = [
        *(f"/{MEMBER_SERVICE}/{name}" for name in ("Have", "Fetch", "Pull", "Push", "Compare")),
        *(f"/{JOINER_SERVICE}/{name}" for name in ("Pull", "Push", "Compare")),
        f"/{JOINER_SERVICE}/../{MEMBER_SERVICE}/Have",
    ]
    async with grpc.aio.secure_channel(contact.address, credentials, options) as channel:
        for path in paths:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(b"", timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, path


def test_a_certificate_signed_by_a_members_is_refused(tmp_path: Path) -> None:
    """A member's certificate is a root to TLS; what it signs is nobody's to us."""
    trust = MemberTrust(ManualClock(int(time.time() * 1000)))
    trust.replace([ALICE.pinned])
    now = int(time.time())
    other = make_certificate(ALICE.identity, now - 5, now + 5000)
    assert trust.find_member(other.fingerprint) is None


def test_a_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    async def scene(host: Host) -> None:
        with pytest.raises(PsycheError, match="choose a free port"):
            async with serve_joiners(host, [], addresses=(host.contact().address,)):
                pass

    run_with_server(tmp_path, [ALICE], scene)
