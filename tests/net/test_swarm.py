"""A blob arrives, or a clear error does, whatever its holders do: on real sockets."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from psyche_p2p.blobs import BlobError, BlobStore, SealedBlob, partial
from psyche_p2p.errors import StorageError, Unavailable
from psyche_p2p.ids import PeerId
from psyche_p2p.net.bulk_client import Contact, Patience
from psyche_p2p.net.handlers import Call, CallWrapper
from psyche_p2p.net.limits import CallLimits
from psyche_p2p.net.methods import MEMBER_SERVICE
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.net.sources import SourceBook
from tests.net import tricks
from tests.net.builders import (
    Host,
    make_blob,
    make_person,
    member_client,
    serve_members,
)
from tests.net.fetcher import ALICE, BLOB, CHUNKS, Fetcher

HOLDERS = [make_person(f"holder {number}") for number in range(3)]


@asynccontextmanager
async def holders(
    folder: Path, *given: tricks.Trick | None, blob: SealedBlob = BLOB
) -> AsyncIterator[list[Host]]:
    """One member for each trick (None: honest), each with the blob."""
    async with AsyncExitStack() as stack:
        hosts = []
        for person, trick in zip(HOLDERS, given, strict=False):
            make_service = None if trick is None else tricks.serving(trick)
            place = folder / person.peer[-8:]
            host = await stack.enter_async_context(
                serve_members(person, place, [ALICE], make_service=make_service)
            )
            host.store.add(blob)
            hosts.append(host)
        yield hosts


def contacts_of(hosts: list[Host]) -> list[Contact]:
    return [host.contact() for host in hosts]


def fetch_from(folder: Path, *given: tricks.Trick | None) -> Fetcher:
    """Alice fetches the blob from these holders and has it whole."""

    async def play() -> Fetcher:
        async with holders(folder, *given) as hosts, member_client(ALICE) as client:
            fetcher = Fetcher(folder, client)
            await fetcher.fetch(contacts_of(hosts))
            fetcher.require_whole()
            return fetcher

    return asyncio.run(play())


def test_a_blob_comes_from_one_holder_with_progress(tmp_path: Path) -> None:
    fetcher = fetch_from(tmp_path, None)
    assert [event.chunks_here for event in fetcher.progress] == list(range(1, CHUNKS + 1))
    assert fetcher.store.incomplete() == []


def test_a_blob_comes_from_several_holders_at_once(tmp_path: Path) -> None:
    sent: list[list[int]] = [[], [], []]
    fetch_from(tmp_path, *(tricks.counts_slowly(one) for one in sent))
    assert sum(bool(one) for one in sent) > 1


@pytest.mark.parametrize(
    "trick",
    [None, tricks.lies_in(0), tricks.stalls_in(0), tricks.omits(0), tricks.repeats(0)],
    ids=["honest", "lies", "stalls", "omits", "repeats"],
)
def test_a_blob_of_one_chunk_comes_whatever_its_first_holder_does(
    trick: tricks.Trick | None, tmp_path: Path
) -> None:
    small, sent = make_blob(1), list[int]()

    async def play() -> None:
        first = tricks.counts(sent) if trick is None else trick
        async with (
            holders(tmp_path, first, None, blob=small) as hosts,
            member_client(ALICE) as client,
        ):
            fetcher = Fetcher(tmp_path, client)
            await fetcher.fetch(contacts_of(hosts), small.blob_hash)
            fetcher.require_whole(small)
            assert [event.chunks_here for event in fetcher.progress] == [1]
            is_liar = trick is not None and trick.__qualname__.startswith(("lies", "omits", "rep"))
            assert (HOLDERS[0].peer in fetcher.swarm.book.liars) == is_liar

    asyncio.run(play())
    assert sent == ([0] if trick is None else [])


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_lie_in_any_chunk_is_never_written(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    really = partial._write_at

    def spy(descriptor: int, data: memoryview, offset: int) -> None:
        written.append(bytes(data))
        really(descriptor, data, offset)

    monkeypatch.setattr(partial, "_write_at", spy)
    fetcher = fetch_from(tmp_path, tricks.lies_in(chunk), None)
    good = b"".join(bytes(piece) for piece in BLOB.pieces)
    assert all(len(data) < 1000 or data in good for data in written)
    assert set(fetcher.swarm.book.liars) <= {HOLDERS[0].peer}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_when_the_only_holder_lies_the_error_says_so(chunk: int, tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            holders(tmp_path, tricks.lies_in(chunk)) as hosts,
            member_client(ALICE) as client,
        ):
            fetcher = Fetcher(tmp_path, client, deadline_s=0.5)
            with pytest.raises(Unavailable, match=f"not chunk {chunk} of blob"):
                await fetcher.fetch(contacts_of(hosts))
            assert not fetcher.store.has(BLOB.blob_hash)
            assert HOLDERS[0].peer in fetcher.swarm.book.liars

    asyncio.run(play())


@pytest.mark.parametrize(
    "trick",
    [
        tricks.sends_too_much_in(2, 1),
        tricks.sends_too_much_in(2, 60_000),
        tricks.sends_too_much_in(2, 1 << 22),
        tricks.repeats(0),
        tricks.repeats(CHUNKS - 1),
        tricks.omits(1),
        tricks.omits(CHUNKS - 1),
    ],
    ids=["a byte more", "60 kB more", "4 MiB more", "twice", "last twice", "omitted", "no last"],
)
def test_more_or_less_than_asked_for_does_no_harm(trick: tricks.Trick, tmp_path: Path) -> None:
    fetch_from(tmp_path, trick, None)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_holder_that_stalls_in_any_chunk_is_left(chunk: int, tmp_path: Path) -> None:
    fetch_from(tmp_path, tricks.stalls_in(chunk), None)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_holder_that_dies_in_any_chunk_is_replaced(chunk: int, tmp_path: Path) -> None:
    async def play() -> None:
        tasks: list[asyncio.Task[None]] = []

        def kill() -> None:
            tasks.append(asyncio.create_task(hosts[0].server.stop_now()))

        dying = tricks.dies_in(chunk, kill)
        async with holders(tmp_path, dying, None) as hosts, member_client(ALICE) as client:
            fetcher = Fetcher(tmp_path, client)
            await fetcher.fetch(contacts_of(hosts))
            fetcher.require_whole()
            await asyncio.gather(*tasks)

    asyncio.run(play())


@pytest.mark.parametrize("chunk", range(1, CHUNKS))
def test_after_our_own_restart_only_the_rest_is_fetched(chunk: int, tmp_path: Path) -> None:
    async def play() -> None:
        reached = asyncio.Event()
        sent: list[int] = []
        waiting = tricks.waits_in(chunk, reached)
        async with holders(tmp_path, waiting) as hosts, member_client(ALICE) as client:
            first = Fetcher(tmp_path, client, deadline_s=60.0)
            task = asyncio.create_task(first.fetch(contacts_of(hosts)))
            await reached.wait()
            await first.swarm.close()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert first.store.incomplete() == [BLOB.blob_hash]
        async with (
            holders(tmp_path, tricks.counts(sent)) as hosts,
            member_client(ALICE) as client,
        ):
            second = Fetcher(tmp_path, client)
            here = CHUNKS - len(missing_chunks(second.store))
            await second.fetch(contacts_of(hosts))
            second.require_whole()
        assert len(sent) == CHUNKS - here

    asyncio.run(play())


def missing_chunks(store: BlobStore) -> list[int]:
    opened = store.receive(BLOB.manifest)
    assert opened is not None
    with opened:
        return opened.missing()


@pytest.mark.parametrize("writes", [0, 1, 3, 2 * CHUNKS - 1])
def test_a_full_disk_is_one_clear_error_and_no_harm(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        async with holders(tmp_path, None, None) as hosts, member_client(ALICE) as client:
            fetcher = Fetcher(tmp_path, client)
            with monkeypatch.context() as patch:
                patch.setattr(partial, "_write_at", failing_after(writes))
                with pytest.raises(StorageError, match=r"No space left.*free some space"):
                    await fetcher.fetch(contacts_of(hosts))
            assert not fetcher.store.has(BLOB.blob_hash)
            await fetcher.fetch(contacts_of(hosts))
            fetcher.require_whole()

    asyncio.run(play())


def failing_after(writes: int) -> Callable[[int, memoryview, int], None]:
    """Writes that fail with ENOSPC from some moment on."""
    really, done = partial._write_at, []

    def write(descriptor: int, data: memoryview, offset: int) -> None:
        done.append(offset)
        if len(done) > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(descriptor, data, offset)

    return write


def test_a_store_without_room_says_so_before_anything_is_fetched(tmp_path: Path) -> None:
    async def play() -> None:
        async with holders(tmp_path, None) as hosts, member_client(ALICE) as client:
            fetcher = Fetcher(tmp_path, client, max_bytes=1 << 20)
            with pytest.raises(StorageError, match="no room for a blob"):
                await fetcher.fetch(contacts_of(hosts))

    asyncio.run(play())


def test_a_blob_that_is_too_large_is_refused_by_its_manifest(tmp_path: Path) -> None:
    async def play() -> None:
        async with holders(tmp_path, None) as hosts, member_client(ALICE) as client:
            fetcher = Fetcher(tmp_path, client, max_blob_bytes=1 << 20)
            with pytest.raises(BlobError, match="are allowed"):
                await fetcher.fetch(contacts_of(hosts))
            assert not fetcher.swarm.book.liars

    asyncio.run(play())


def test_what_nobody_has_is_an_error_with_everyones_reason(tmp_path: Path) -> None:
    async def play() -> None:
        absent = Contact(HOLDERS[2].pinned, "127.0.0.1:1")
        async with holders(tmp_path, None) as hosts, member_client(ALICE) as client:
            fetcher = Fetcher(tmp_path, client, deadline_s=0.3)
            other = make_blob(2, seed=9).blob_hash
            with pytest.raises(Unavailable, match=r"nothing we need.*cannot be reached"):
                await fetcher.fetch([hosts[0].contact(), absent], other)

    asyncio.run(play())


def test_whoever_lacks_one_blob_is_asked_for_another_at_once(tmp_path: Path) -> None:
    async def play() -> None:
        async with holders(tmp_path, None) as hosts, member_client(ALICE) as client:
            fetcher = Fetcher(tmp_path, client, deadline_s=0.3)
            with pytest.raises(Unavailable):
                await fetcher.fetch(contacts_of(hosts), make_blob(2, seed=9).blob_hash)
            assert fetcher.swarm.book.is_usable(HOLDERS[0].peer, now=0.0)
            await fetcher.fetch(contacts_of(hosts))
            fetcher.require_whole()

    asyncio.run(play())


def test_a_download_that_nobody_waits_for_ends_and_can_be_taken_up(tmp_path: Path) -> None:
    async def play() -> None:
        arrived = asyncio.Event()
        async with (
            holders(tmp_path, tricks.stalls_in(1)) as stalling,
            member_client(ALICE) as client,
        ):
            fetcher = Fetcher(tmp_path, client, on_progress=lambda _: arrived.set())
            first = asyncio.create_task(fetcher.fetch(contacts_of(stalling)))
            await arrived.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            fetcher.swarm.book.records.clear()
            async with holders(tmp_path / "others", None) as hosts:
                await fetcher.fetch(contacts_of(hosts))
            fetcher.require_whole()

    asyncio.run(play())


def test_a_liar_is_told_of_once() -> None:
    book = SourceBook()
    told: list[tuple[PeerId, str]] = []
    book.on_lie = lambda peer, problem: told.append((peer, problem))
    for problem in ("one", "two"):
        book.note_lie(ALICE.peer, problem)
    assert told == [(ALICE.peer, "one")]


@pytest.mark.parametrize("chunks", [1, CHUNKS])
def test_who_is_silent_when_asked_for_the_manifest_holds_up_nobody(
    chunks: int, tmp_path: Path
) -> None:
    patience = Patience(answer_s=60.0, stall_s=60.0)
    blob = make_blob(chunks)

    async def play() -> float:
        async with (
            serve_members(
                HOLDERS[2],
                tmp_path / "silent",
                [ALICE],
                limits=CallLimits(stall_s=60.0),
                make_service=silent,
            ) as hanging,
            holders(tmp_path, None, blob=blob) as hosts,
            member_client(ALICE, patience) as client,
        ):
            fetcher = Fetcher(tmp_path, client)
            began = asyncio.get_running_loop().time()
            await fetcher.fetch(contacts_of([hanging, *hosts]), blob.blob_hash)
            fetcher.require_whole(blob)
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(play()) < patience.answer_s / 2


def silent(wrapper: CallWrapper, _: Shelf) -> grpc.GenericRpcHandler:
    """The service of a process that was frozen: it takes every call and answers none."""

    async def hang(_: Call, __: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    methods = {name: wrapper.unary(hang) for name in ("Have", "Manifest")}
    return grpc.method_handlers_generic_handler(MEMBER_SERVICE, methods)


def test_two_fetches_of_one_blob_are_one_download(tmp_path: Path) -> None:
    async def play() -> None:
        sent: list[int] = []
        async with (
            holders(tmp_path, tricks.counts(sent)) as hosts,
            member_client(ALICE) as client,
        ):
            fetcher = Fetcher(tmp_path, client)
            await asyncio.gather(*(fetcher.fetch(contacts_of(hosts)) for _ in range(3)))
        assert sorted(sent) == list(range(CHUNKS))

    asyncio.run(play())


def test_what_is_here_of_a_blob_on_its_way_is_served_to_others(tmp_path: Path) -> None:
    """Bob fetches from Alice, who has only half of the blob, and from nobody else."""
    bob = make_person("bob")

    async def play() -> None:
        async with (
            serve_members(ALICE, tmp_path / "half", [bob]) as half,
            member_client(bob, Patience(5.0, 5.0)) as client,
        ):
            manifest, pieces = BLOB.manifest, b"".join(bytes(p) for p in BLOB.pieces)
            opened = half.store.receive(manifest)
            assert opened is not None
            with opened:
                for index in (1, 3):
                    opened.write_chunk(index, pieces[index << 20 : (index + 1) << 20])
                half.shelf.share(BLOB.blob_hash, opened)
                fetcher = Fetcher(tmp_path, client, deadline_s=0.5)
                with pytest.raises(Unavailable, match="4 of 6 chunks are missing"):
                    await fetcher.fetch([half.contact()])
            half.shelf.unshare(BLOB.blob_hash)

    asyncio.run(play())
