"""The bulk plane over a path whose round trips take long: connecting must not be given up early."""

from __future__ import annotations

import asyncio
from pathlib import Path

from wan_emulation.profile import PathProfile
from wan_emulation.proxy import TcpProxy

from psyche_p2p.net.bulk_client import Contact
from tests.net.builders import make_blob, make_person, member_client, serve_members

SERVER, ALICE = make_person("server"), make_person("alice")


def test_a_member_a_second_away_is_reached_at_the_first_attempt(tmp_path: Path) -> None:
    blob = make_blob(1)

    async def scenario() -> None:
        async with serve_members(SERVER, tmp_path, [ALICE]) as host:
            blob_hash = host.store.add(blob)
            far = PathProfile(delay_ms=300)
            async with (
                TcpProxy("127.0.0.1", host.server.ports[0], far) as proxy,
                member_client(ALICE) as client,
            ):
                contact = Contact(SERVER.pinned, f"127.0.0.1:{proxy.port}")
                chunks = [chunk async for chunk in client.fetch(contact, blob_hash, [0])]
        assert b"".join(chunks) == blob.to_bytes()

    asyncio.run(asyncio.wait_for(scenario(), 60))
