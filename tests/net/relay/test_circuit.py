"""libp2p streams between real daemons: bulk traffic where they carry it, a refusal where not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from psyche_p2p.errors import Unavailable
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.control import Stream
from psyche_p2p.net.daemon import Daemon, DaemonConfig
from psyche_p2p.net.multiaddr import Multiaddr
from psyche_p2p.net.relay.circuit import CircuitDialer, CircuitListener
from psyche_p2p.net.relay.probe import PROBE_PROTOCOL, probe_circuit
from tests.net.builders import make_blob, make_person, member_client, serve_members
from tests.net.real import LOOPBACK, daemon_of, identity_of, run, until

HIDDEN, CALLER = make_person("hidden"), make_person("caller")


def test_a_blob_is_fetched_over_libp2p_streams(tmp_path: Path) -> None:
    blob = make_blob(3)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            host = await stack.enter_async_context(serve_members(HIDDEN, tmp_path, [CALLER]))
            blob_hash = host.store.add(blob)
            hidden = await stack.enter_async_context(daemon_of("hidden"))
            caller = await stack.enter_async_context(daemon_of("caller"))
            await caller.control.connect(hidden.peer_id, hidden.listen)
            listener = CircuitListener(hidden.control, hidden.folder, host.server.ports[0])
            await stack.enter_async_context(listener)
            dialer = CircuitDialer(caller.control, hidden.peer_id)
            await stack.enter_async_context(dialer)
            client = await stack.enter_async_context(member_client(CALLER))
            contact = Contact(HIDDEN.pinned, f"127.0.0.1:{dialer.port}")
            chunks = [chunk async for chunk in client.fetch(contact, blob_hash, [0, 1, 2])]
            assert b"".join(chunks) == blob.to_bytes()

    run(scenario())


@dataclass(slots=True)
class BehindLimitedRelay:
    """A caller connected to a hidden peer through a relay with go-libp2p's own limits."""

    caller: Daemon
    hidden: Daemon

    async def open_probe(self) -> Stream:
        return await self.caller.control.open_stream(self.hidden.peer_id, [PROBE_PROTOCOL])


@asynccontextmanager
async def behind_limited_relay() -> AsyncIterator[BehindLimitedRelay]:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(
            Daemon(DaemonConfig(identity_of("relay"), listen=LOOPBACK, relay_service=True))
        )
        way = Multiaddr((*relay.listen[0].without_peer.parts, ("p2p", relay.peer_id)))
        private = DaemonConfig(
            identity_of("hidden"), listen=LOOPBACK, relays=(way,), is_private=True
        )
        hidden = await stack.enter_async_context(Daemon(private))
        caller = await stack.enter_async_context(daemon_of("caller"))
        circuit = Multiaddr((*way.parts, ("p2p-circuit", "")))

        async def is_connected() -> bool:  # once the hidden peer has its reservation
            await caller.control.connect(hidden.peer_id, [circuit])
            return True

        await until(is_connected)
        yield BehindLimitedRelay(caller, hidden)


@pytest.mark.slow
def test_a_relay_with_go_libp2ps_own_limits_is_found_out() -> None:
    async def scenario() -> None:
        async with (
            behind_limited_relay() as here,
            CircuitListener(here.hidden.control, here.hidden.folder, 1),
        ):
            little = await probe_circuit(here.open_probe, size_bytes=16 << 10)
            assert little.returned_bytes == little.sent_bytes  # the way is there
            assert not little.is_trusted  # and this proves nothing
            with pytest.raises(Unavailable, match=r"is not trusted: .*; use another relay"):
                await CircuitDialer(here.caller.control, here.hidden.peer_id).__aenter__()

    run(scenario())


def test_a_peer_that_is_not_there_is_unavailable() -> None:
    async def scenario() -> None:
        async with daemon_of("caller") as caller:
            nobody = identity_of("nobody").peer_id
            with pytest.raises(Unavailable, match="is not trusted: 0 of"):
                await CircuitDialer(caller.control, nobody).__aenter__()

    run(scenario())
