"""psyche-peer that also counts its own tasks and objects: python -m ... FOLDER ARGUMENT ...

What /proc does not show is appended to FOLDER/PID as lines of JSON. Tables and caches that forget
the oldest beyond a limit get one so small that they are full long before a benchmark looks for
growth.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from psyche_p2p import identity
from psyche_p2p.cli import start
from psyche_p2p.cli.main import main
from psyche_p2p.net.gatekeeper import GossipLimits
from psyche_p2p.net.gossip import Gossip
from psyche_p2p.node import bulk_plane, peer, settled

_EVERY_S = 2.0
_CACHED_BYTES = 1 << 20
_KEPT = 256
Live = Callable[..., Coroutine[Any, Any, None]]


async def count_for_ever(path: Path) -> None:
    """Look at this process now and then."""
    with path.open("a") as file:
        while True:
            counts = {
                "time_ms": time.time_ns() // 1_000_000,
                "tasks": len(asyncio.all_tasks()),
                "objects": len(gc.get_objects()),
            }
            file.write(json.dumps(counts) + "\n")
            file.flush()
            await asyncio.sleep(_EVERY_S)


def counted(live: Live, folder: Path) -> Live:
    """The peer's life, counted."""

    async def live_and_count(*arguments: Any) -> None:
        counting = asyncio.create_task(count_for_ever(folder / str(os.getpid())))
        try:
            await live(*arguments)
        finally:
            counting.cancel()

    return live_and_count


if __name__ == "__main__":
    vars(bulk_plane)["CACHED_BYTES"] = _CACHED_BYTES
    vars(identity)["_MAX_SEEN"] = _KEPT
    vars(settled)["_KEPT_ROOTS"] = _KEPT
    vars(peer)["Gossip"] = partial(Gossip, limits=GossipLimits(remembered=_KEPT))
    start._live = counted(start._live, Path(sys.argv[1]))
    main(sys.argv[2:])
