"""A member that serves the snapshot: python -m benchmarks.joins.donor REQUEST, as JSON.

Says where it listens; then, for every line of its standard input, what it has sent and what that
cost. Ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.joins.world import FOLLOWER, NEWCOMER, Station, World, make_update
from psyche_p2p.ids import BlobHash
from psyche_p2p.net.allocator import keep_freed_memory
from psyche_p2p.net.services import BlobMethods
from psyche_p2p.net.shelf import OpenBlob

_really_read = BlobMethods._read


async def serve(wanted: dict[str, Any]) -> None:
    """Until nobody talks to us any more."""
    keep_freed_memory()
    world = World(Path(wanted["world"]))
    if wanted["lies_after"] is not None:
        _lie_after(wanted["lies_after"])
    folder = Path(wanted["folder"])
    rate = wanted["bytes_per_s"] or math.inf
    others = (NEWCOMER, FOLLOWER)
    station = Station(world.config(), wanted["name"], wanted["host"], folder, others, rate)
    station.store.add(make_update())
    station.offers.offer(world.offer())
    async with station.bulk:
        _say({"port": station.bulk.members.ports[0]})
        while await asyncio.to_thread(sys.stdin.readline):
            _say({"sent_bytes": station.meter.sent_bytes, "cpu_s": time.process_time()})


def _lie_after(honest: int) -> None:
    """Change a bit of every chunk after so many: the one thing no honest donor's code can do."""
    sent = 0

    async def read(self: BlobMethods, blob_hash: BlobHash, blob: OpenBlob, index: int) -> bytes:
        nonlocal sent
        sent += 1
        data = await _really_read(self, blob_hash, blob, index)
        return data if sent <= honest else bytes([data[0] ^ 1]) + data[1:]

    BlobMethods._read = read  # type: ignore[method-assign]


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
