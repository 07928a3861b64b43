"""A peer that joins late: python -m benchmarks.joins.newcomer REQUEST, as JSON.

Fetches the parameters as the node does, printing each event as a line, and last how long it took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.joins.world import NEWCOMER, Station, World
from benchmarks.transfer.ours import make_peer
from psyche_p2p.clock import SystemClock
from psyche_p2p.ids import PeerId, Tier
from psyche_p2p.net.allocator import keep_freed_memory
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.node.donors import PeerDonors
from psyche_p2p.node.settled import Settled
from psyche_p2p.observe.events import Event


@dataclass(frozen=True)
class Known:
    """The members, as the directory knows them once it has read the DHT."""

    contacts: Mapping[PeerId, Contact]

    def members(self) -> Mapping[PeerId, Contact]:
        return self.contacts


async def join(wanted: dict[str, Any]) -> None:
    """From the first question to parameters that the log vouches for, on the disk."""
    keep_freed_memory()
    world, donors = World(Path(wanted["world"])), wanted["donors"]
    config = world.config()
    settled = Settled()
    settled.on_state(world.state())
    pinned = {name: make_peer(name)[1] for name in donors}
    known = Known({pinned[name].peer: Contact(pinned[name], donors[name]) for name in donors})
    station = Station(config, NEWCOMER, wanted["host"], Path(wanted["folder"]), donors)
    async with station.bulk as bulk:
        fetcher = PeerDonors(
            config,
            Tier(0),
            station.store,
            bulk.client,
            bulk.swarm,
            known,
            settled,
            _tell,
            SystemClock(),
        )
        began, cpu_began = time.monotonic(), time.process_time()
        offer = await fetcher.fetch()
        seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    assert station.store.has(offer.blob_hash)
    _say({"seconds": seconds, "cpu_s": cpu_s, "size_bytes": offer.size_bytes})


def _tell(event: Event) -> None:
    _say({"at_s": time.monotonic(), "event": event.NAME, **asdict(event)})


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    asyncio.run(join(json.loads(sys.argv[1])))
