"""Ours from several holders, each behind an uplink of 100 Mbit/s and 50 ms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.transfer.ours import fetching, seal_bytes, serve_blob
from benchmarks.transfer.uplink import uplink

_HOLDERS = 4
_BYTES_PER_S = 100e6 / 8
_DELAY_S = 0.05


@asynccontextmanager
async def serve(folder: Path, blob: bytes) -> AsyncIterator[Any]:
    """All holders, and their uplinks, in one process."""
    sealed, holders = seal_bytes(blob), []
    async with AsyncExitStack() as stack:
        for number in range(_HOLDERS):
            name = f"holder {number}"
            server, blob_hash = await stack.enter_async_context(serve_blob(name, folder, sealed))
            line = await stack.enter_async_context(uplink(server, _BYTES_PER_S, _DELAY_S))
            holders.append((name, line))
        yield holders, blob_hash


@asynccontextmanager
async def connect(folder: Path, address: Any) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """From all holders and from the first alone, in turns."""
    holders, blob_hash = address
    async with (
        fetching(folder / "all", holders, blob_hash) as from_all,
        fetching(folder / "one", holders[:1], blob_hash) as from_one,
    ):
        turns = 0

        async def fetch() -> Any:
            nonlocal turns
            turns += 1
            return await (from_all() if turns % 2 else from_one())

        yield fetch
