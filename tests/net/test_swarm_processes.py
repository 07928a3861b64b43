"""Downloads whose holders are real processes, killed by SIGKILL, and disks that are really full."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from psyche_p2p.errors import StorageError, Unavailable
from psyche_p2p.ids import PeerId
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.download import FetchProgress
from tests.net.builders import (
    CHUNK,
    DAY_S,
    Person,
    make_blob,
    make_person,
    member_client,
    serve_members,
)
from tests.net.fetcher import ALICE, BLOB, CHUNKS, Fetcher
from tests.small_disk import small_disk

ROOT = Path(__file__).resolve().parents[2]
NOW = int(time.time())
VALID = (NOW - DAY_S, NOW + DAY_S)
CLIENT = make_person("alice", VALID)
WRITERS = 2  # what may be on its way to the disk at any moment
MANY = 24
LARGE = make_blob(MANY)


@dataclass
class Holder:
    """A process that serves `LARGE`."""

    person: Person
    process: Process
    contact: Contact


@asynccontextmanager
async def holder(folder: Path, number: int) -> AsyncIterator[Holder]:
    """Holder of this number, from when it listens; killed at the end."""
    person = make_person(f"holder {number}", VALID)
    arguments = [str(folder / str(number)), f"holder {number}", *map(str, (*VALID, MANY))]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.net.holder", *arguments, stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield Holder(person, process, Contact(person.pinned, f"127.0.0.1:{port}"))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def holders(folder: Path, count: int) -> AsyncIterator[list[Holder]]:
    """So many, started at the same time."""
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(holder(folder, one)) for one in range(count))
        yield list(await asyncio.gather(*starting))


@pytest.mark.slow
def test_kill_9_of_whoever_gave_the_last_chunk_twice(tmp_path: Path) -> None:
    async def play() -> None:
        async with holders(tmp_path, 3) as made, member_client(CLIENT) as client:
            by_peer = {one.person.peer: one for one in made}
            killed: list[PeerId] = []

            def kill_its_source(progress: FetchProgress) -> None:
                if progress.chunks_here in (4, 10) and progress.source not in killed:
                    killed.append(progress.source)
                    by_peer[progress.source].process.kill()

            fetcher = Fetcher(tmp_path, client, deadline_s=60.0, on_progress=kill_its_source)
            await fetcher.fetch([one.contact for one in made], LARGE.blob_hash)
            fetcher.require_whole(LARGE)
            assert killed
            for peer in killed:
                assert await by_peer[peer].process.wait() == -signal.SIGKILL
            assert len(fetcher.progress) == MANY  # no chunk was lost, none was written twice

    asyncio.run(asyncio.wait_for(play(), 120))


@pytest.mark.slow
def test_when_every_holder_was_killed_the_rest_comes_from_the_next(tmp_path: Path) -> None:
    async def play() -> None:
        async with holders(tmp_path, 2) as made, member_client(CLIENT) as client:

            def kill_all(progress: FetchProgress) -> None:
                if progress.chunks_here == 5:
                    for one in made:
                        one.process.kill()

            first = Fetcher(tmp_path, client, deadline_s=6.0, on_progress=kill_all)
            with pytest.raises(Unavailable, match=r"chunks are missing: .*cannot be reached"):
                await first.fetch([one.contact for one in made], LARGE.blob_hash)
            assert 5 <= len(first.progress) < MANY
        async with holder(tmp_path, 0) as again, member_client(CLIENT) as client:
            second = Fetcher(tmp_path, client, deadline_s=60.0)
            await second.fetch([again.contact], LARGE.blob_hash)
            second.require_whole(LARGE)
            # at the deadline a chunk may be on disk that nobody was told of; none was lost
            was_here = second.progress[0].chunks_here - 1
            assert 0 <= was_here - len(first.progress) <= WRITERS
            assert len(second.progress) == MANY - was_here

    asyncio.run(asyncio.wait_for(play(), 120))


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_clear_error_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    async def play(disk: Path) -> None:
        filler = disk / "filler"
        filler.write_bytes(bytes(CHUNKS * CHUNK))
        source = make_person("holder 0")
        async with (
            serve_members(source, tmp_path / "holder", [ALICE]) as host,
            member_client(ALICE) as client,
        ):
            host.store.add(BLOB)
            fetcher = Fetcher(disk, client)
            with pytest.raises(StorageError, match=r"No space left.*free some space"):
                await fetcher.fetch([host.contact()])
            here = len(fetcher.progress)
            assert 0 < here < CHUNKS
            filler.unlink()
            await fetcher.fetch([host.contact()])
            fetcher.require_whole()
            assert len(fetcher.progress) <= CHUNKS + 1  # at most the chunk being written was lost

    with small_disk(tmp_path / "disk", (CHUNKS + 4) * CHUNK) as disk:
        asyncio.run(play(disk))


def test_a_limit_on_file_sizes_is_one_clear_error(tmp_path: Path) -> None:
    """What `ulimit -f` does, to this process for a moment."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def play() -> None:
        source = make_person("holder 0")
        async with (
            serve_members(source, tmp_path / "holder", [ALICE]) as host,
            member_client(ALICE) as client,
        ):
            host.store.add(BLOB)
            fetcher = Fetcher(tmp_path, client)
            resource.setrlimit(resource.RLIMIT_FSIZE, (3 * CHUNK, hard))
            try:
                with pytest.raises(StorageError, match=r"File too large.*ulimit"):
                    await fetcher.fetch([host.contact()])
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert fetcher.progress == []
            await fetcher.fetch([host.contact()])
            fetcher.require_whole()

    asyncio.run(play())
