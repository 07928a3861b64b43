"""A peer's meter: both ends of the bulk plane count the same bytes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from psyche_p2p.net.bulk_client import BulkClient
from psyche_p2p.net.traffic import TrafficMeter
from tests.net.builders import PATIENT, make_blob, make_person, serve_members

ALICE, BOB = make_person("alice"), make_person("bob")


def test_what_one_end_sends_the_other_receives(tmp_path: Path) -> None:
    blob, at_client, at_server = make_blob(2), TrafficMeter(), TrafficMeter()
    size = blob.manifest.size_bytes

    async def play() -> None:
        async with (
            serve_members(BOB, tmp_path, [ALICE], meter=at_server) as host,
            BulkClient(ALICE.tls, PATIENT, at_client) as client,
        ):
            host.store.add(blob)
            manifest = await client.manifest(host.contact(), blob.blob_hash)
            asked = at_client.sent_bytes
            assert (0 < asked < 100, at_client.received_bytes) == (True, len(manifest))
            async for _ in client.fetch(host.contact(), blob.blob_hash, [0, 1]):
                pass
            assert at_client.received_bytes == len(manifest) + size
            there_and_back = (at_client.received_bytes, at_client.sent_bytes)
            assert (at_server.sent_bytes, at_server.received_bytes) == there_and_back

    asyncio.run(play())
