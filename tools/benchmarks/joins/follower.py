"""A member that fetches an update from a donor: python -m benchmarks.joins.follower REQUEST.

For every line of its standard input once, saying how long it took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.joins.world import FOLLOWER, UPDATE_CHUNKS, Station, World, make_update
from benchmarks.transfer.ours import make_peer
from psyche_p2p.net.allocator import keep_freed_memory
from psyche_p2p.net.bulk_client import Contact


async def follow(wanted: dict[str, Any]) -> None:
    """Until nobody talks to us any more."""
    keep_freed_memory()
    world = World(Path(wanted["world"]))
    ((name, address),) = wanted["donors"].items()
    contact = Contact(make_peer(name)[1], address)
    update = make_update().blob_hash
    station = Station(world.config(), FOLLOWER, wanted["host"], Path(wanted["folder"]), [name])
    async with station.bulk as bulk:
        while await asyncio.to_thread(sys.stdin.readline):
            began = time.monotonic()
            async for _ in bulk.client.fetch(contact, update, range(UPDATE_CHUNKS)):
                pass
            print(json.dumps({"seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    asyncio.run(follow(json.loads(sys.argv[1])))
