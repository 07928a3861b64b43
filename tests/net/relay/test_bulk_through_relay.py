"""The bulk plane through the relay: the same mutual TLS, chunk by chunk."""

from __future__ import annotations

from pathlib import Path

import pytest

from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import PeerId, RunId
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.errors import Unreachable
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.client import LocalDoors, RelayDialer, RelayListener, RelayUser
from psyche_p2p.net.relay.server import RelayServer
from tests.net.builders import make_blob, make_person, member_client, serve_members
from tests.net.relay.relays import run

RUN = RunId(hash_bytes(b"run"))
RELAY, HIDDEN, CALLER, REMOVED = (make_person(n) for n in ("relay", "hidden", "caller", "removed"))


def test_a_blob_is_fetched_from_a_peer_behind_the_relay(tmp_path: Path) -> None:
    blob = make_blob(4)

    async def scenario() -> None:
        async with serve_members(HIDDEN, tmp_path, [CALLER]) as host:
            blob_hash = host.store.add(blob)
            async with RelayServer(RELAY.peer, _everyone, host="127.0.0.1") as relay:
                address = RelayAddress("127.0.0.1", relay.port, RELAY.peer)
                hidden = RelayUser(HIDDEN.identity, RUN)
                caller = RelayUser(CALLER.identity, RUN)
                async with (
                    RelayListener(hidden, address, LocalDoors(host.server.ports[0])) as listener,
                    RelayDialer(caller, address, HIDDEN.peer) as dialer,
                    member_client(CALLER) as client,
                    member_client(REMOVED) as removed,
                ):
                    await listener.is_listening.wait()
                    contact = Contact(HIDDEN.pinned, f"127.0.0.1:{dialer.port}")
                    chunks = [
                        chunk async for chunk in client.fetch(contact, blob_hash, [0, 1, 2, 3])
                    ]
                    assert b"".join(chunks) == blob.to_bytes()
                    with pytest.raises(Unreachable):  # the relay's consent is no membership
                        await removed.have(contact, [blob_hash])
                assert relay.counters.carried_bytes > 3 << 20

    run(scenario())


def _everyone(_run: RunId, _peer: PeerId) -> bool:
    return True
