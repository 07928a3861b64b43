"""What newcomers take leaves the line to the updates of rounds: on real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

from psyche_p2p.blobs import SealedBlob
from psyche_p2p.clock import SystemClock
from psyche_p2p.ids import RoundIndex, Tier
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.net.relay.client import RelayUser
from psyche_p2p.net.tls import MemberTrust
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.node.bulk_plane import BulkPlane, Told
from psyche_p2p.node.options import Listen
from psyche_p2p.wire.bulk import ParameterOffer
from tests.coordinator.world import make_config
from tests.net.builders import (
    CHUNK,
    RUN,
    NoStatements,
    make_blob,
    make_person,
    member_client,
    open_store,
)

ALICE = make_person("alice")
CHUNKS = 5
PARAMETERS, UPDATE = make_blob(CHUNKS, seed=1), make_blob(CHUNKS, seed=2)
RATE_CHUNKS = 2


def test_parameters_leave_at_their_own_pace_and_updates_at_once(tmp_path: Path) -> None:
    member, clock = make_person("member"), SystemClock()
    store, trust, offers = (
        open_store(tmp_path / "member"),
        MemberTrust(clock),
        ParameterOffers(clock),
    )
    trust.replace([ALICE.pinned])
    plane = BulkPlane(
        Listen("127.0.0.1", 0),
        RelayUser(member.identity, RUN),
        member.tls,
        trust,
        store,
        Told(make_config(), offers),
        offers,
        NoStatements(),
        1 << 30,
        clock,
        TrafficMeter(),
        parameters_bytes_per_s=RATE_CHUNKS * CHUNK,
    )
    for blob in (PARAMETERS, UPDATE):
        store.add(blob)
    for number, blob in enumerate((PARAMETERS, make_blob(1), make_blob(2))):  # no longer the newest
        offers.offer(ParameterOffer(Tier(0), RoundIndex(number), blob.blob_hash, 1))

    async def play() -> None:
        async with plane, member_client(ALICE) as client:
            contact = Contact(member.pinned, f"127.0.0.1:{plane.members.ports[0]}")

            async def fetch(blob: SealedBlob) -> int:
                pieces = client.fetch(contact, blob.blob_hash, range(CHUNKS))
                return sum([len(piece) async for piece in pieces])

            began = asyncio.get_running_loop().time()
            slow = asyncio.create_task(fetch(PARAMETERS))
            assert await fetch(UPDATE) == UPDATE.manifest.size_bytes
            assert not slow.done()
            assert await slow == PARAMETERS.manifest.size_bytes
            took_s = asyncio.get_running_loop().time() - began
            assert took_s > (CHUNKS - 2) / RATE_CHUNKS, (
                "the first chunk is saved up, the last small"
            )

    asyncio.run(play())
