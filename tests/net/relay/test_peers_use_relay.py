"""What peers do with a relay: try it, and serve members and newcomers through it, each its own."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from psyche_p2p.clock import ManualClock, SystemClock
from psyche_p2p.errors import RemoteError
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, PeerId, RunId
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.bulk_server import BulkServer, ServerLimits
from psyche_p2p.net.callers import AddressGate
from psyche_p2p.net.dial_back import DialBack, ask_over_grpc, dial_back_service
from psyche_p2p.net.errors import NotHeld, Unreachable
from psyche_p2p.net.handlers import CallWrapper
from psyche_p2p.net.limits import CallLimits, Turnstile
from psyche_p2p.net.relay import server as relay_server
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.client import LocalDoors, RelayListener, RelayUser
from psyche_p2p.net.relay.desk import RelayLimits
from psyche_p2p.net.relay.detours import Detours
from psyche_p2p.net.relay.paths import RelayPaths
from psyche_p2p.net.relay.probe import RELAY_LIMIT_BYTES
from psyche_p2p.net.relay.server import RelayServer
from psyche_p2p.net.relay.splice import Pace, splice
from psyche_p2p.net.relay.trial import try_relay
from psyche_p2p.net.tls import joiner_server_credentials
from psyche_p2p.wire.reachability import DialBackRequest
from psyche_p2p.wire.relay import RelayService
from tests.net.builders import PATIENT, make_blob, make_person, serve_joiners, serve_members
from tests.net.relay import relays
from tests.net.relay.relays import run, scene

RUN = RunId(hash_bytes(b"run"))
RELAY, HIDDEN, CALLER, STRANGER = (make_person(n) for n in ("relay", "hidden", "caller", "strange"))
MEMBERS = {HIDDEN.peer, CALLER.peer}


def is_member(run_id: RunId, peer: PeerId) -> bool:
    return run_id == RUN and peer in MEMBERS


def test_a_relay_that_carries_enough_is_trusted() -> None:
    async def scenario() -> None:
        async with scene() as here:
            verdict = await try_relay(RelayUser(relays.HIDDEN, relays.RUN), here.address)
            assert verdict.is_trusted, str(verdict)
            assert here.server.counters.carried_bytes > 2 * RELAY_LIMIT_BYTES

    run(scenario())


def test_a_relay_that_ends_after_128_kib_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def splice_little(one: socket.socket, other: socket.socket, pace: Pace) -> None:
        carried = 0

        def count(size_bytes: int) -> float:
            nonlocal carried
            carried += size_bytes
            if carried > 2 * RELAY_LIMIT_BYTES:
                raise ConnectionError("enough")
            return pace(size_bytes)

        await splice(one, other, count)

    monkeypatch.setattr(relay_server, "splice", splice_little)

    async def scenario() -> None:
        async with scene() as here:
            verdict = await try_relay(RelayUser(relays.HIDDEN, relays.RUN), here.address)
            assert not verdict.is_trusted
            assert "not trusted" in str(verdict)

    run(scenario())


def test_members_and_newcomers_get_each_their_door(tmp_path: Path) -> None:
    public, private = make_blob(2, seed=1), make_blob(1, seed=2)

    async def scenario() -> None:
        async with serve_members(HIDDEN, tmp_path, [CALLER]) as host:
            shown, hidden = host.store.add(public), host.store.add(private)
            async with (
                serve_joiners(host, [shown]) as joiners,
                RelayServer(RELAY.peer, is_member, host="127.0.0.1") as relay,
            ):
                address = RelayAddress("127.0.0.1", relay.port, RELAY.peer)
                doors = LocalDoors(host.server.ports[0], joiners.ports[0])
                contact = Contact(HIDDEN.pinned, str(address))
                async with (
                    RelayListener(RelayUser(HIDDEN.identity, RUN), address, doors) as listener,
                    RelayPaths(RelayUser(CALLER.identity, RUN)) as paths,
                    RelayPaths(RelayUser(STRANGER.identity, RUN)) as strange_paths,
                    BulkClient(CALLER.tls, PATIENT, paths=paths) as member,
                    BulkClient(None, PATIENT, paths=strange_paths) as joiner,
                    BulkClient(STRANGER.tls, PATIENT, paths=strange_paths) as stranger,
                    BulkClient(None, PATIENT) as simple,
                ):
                    await listener.is_listening.wait()
                    assert await chunks(member, contact, hidden, 1) == private.to_bytes()
                    assert await chunks(joiner, contact, shown, 2) == public.to_bytes()
                    with pytest.raises(NotHeld):
                        await chunks(joiner, contact, hidden, 1)
                    with pytest.raises(Unreachable):  # the relay knows it not, nor would the peer
                        await stranger.have(contact, [hidden])
                    with pytest.raises(Unreachable, match="only through a relay"):
                        await simple.have(contact, [shown])
                    with pytest.raises(Unreachable, match="not the address of a relay"):
                        await joiner.have(Contact(HIDDEN.pinned, "relay/nowhere"), [shown])

    run(scenario())


async def chunks(client: BulkClient, contact: Contact, blob: BlobHash, count: int) -> bytes:
    received = client.fetch(contact, blob, list(range(count)))
    return b"".join([chunk async for chunk in received])


def test_a_caller_through_a_relay_cannot_have_this_machine_dial_itself() -> None:
    detours = Detours()
    request = DialBackRequest(BlobHash(b"f" * 32), (1,))

    async def scenario() -> None:
        calls = CallWrapper(AddressGate(), Turnstile(CallLimits()), SystemClock())
        dial_back = DialBack(ManualClock(), is_detoured=detours.is_one)
        async with (
            BulkServer(
                ("127.0.0.1:0",),
                lambda: joiner_server_credentials(HIDDEN.tls),
                dial_back_service(calls, dial_back),
                ServerLimits(),
            ) as joiners,
            RelayServer(RELAY.peer, is_member, host="127.0.0.1") as relay,
        ):
            port = joiners.ports[0]
            address = RelayAddress("127.0.0.1", relay.port, RELAY.peer)
            doors = LocalDoors(1, port, detours=detours)
            async with (
                RelayListener(RelayUser(HIDDEN.identity, RUN), address, doors) as listener,
                RelayPaths(RelayUser(STRANGER.identity, RUN)) as paths,
            ):
                await listener.is_listening.wait()
                way = paths.resolve(str(address), HIDDEN.peer, RelayService.JOINERS)
                with pytest.raises(RemoteError, match="not dialled back"):
                    await ask_over_grpc(Contact(HIDDEN.pinned, way), request)
                direct = Contact(HIDDEN.pinned, f"127.0.0.1:{port}")
                assert (await ask_over_grpc(direct, request)).observed_host == "127.0.0.1"

    run(scenario())


def test_a_newcomer_asks_no_more_often_than_its_address_may() -> None:
    async def scenario() -> None:
        limits = RelayLimits(dials_per_s=0.001, dials_burst=3, guest_circuits=1, answer_s=0.2)
        async with scene(limits) as here:
            refused = await asyncio.gather(
                *(
                    RelayUser(make_person(f"stranger {n}").identity, relays.RUN).open_circuit(
                        here.address, relays.HIDDEN.peer_id, RelayService.JOINERS
                    )
                    for n in range(6)
                ),
                return_exceptions=True,
            )
            assert all(isinstance(one, Exception) for one in refused)  # the hidden peer has no door
            assert here.server.counters.refused >= 3
            data = b"members go on" * 1000
            assert await relays.round_trip(here, data) == data

    run(scenario())
