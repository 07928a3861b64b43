"""A member that holds a blob, in a process of its own, to be killed: python -m tests.net.holder.

Arguments: a folder, its name, the validity of everyone's certificates, and the blob's chunks.
Prints the port it listens on, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from psyche_p2p.net.limits import CallLimits
from tests.net.builders import make_blob, make_person, serve_members

SLOW = CallLimits(bytes_per_s=4 << 20)
"""So that a download is still going on when the test acts."""


async def hold(folder: Path, name: str, valid_s: tuple[int, int], chunks: int) -> None:
    """Serve the blob to Alice."""
    person, alice = make_person(name, valid_s), make_person("alice", valid_s)
    async with serve_members(person, folder, [alice], limits=SLOW) as host:
        host.store.add(make_blob(chunks))
        sys.stdout.write(f"{host.server.ports[0]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(
        hold(Path(sys.argv[1]), sys.argv[2], (int(sys.argv[3]), int(sys.argv[4])), int(sys.argv[5]))
    )
