"""The store in one process: whole blobs, partial ones, pins and the budget."""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psyche_p2p.blobs import CHUNK_BYTES, BlobError, BlobStore, PartialBlob, SealedBlob
from psyche_p2p.blobs import store as store_module
from psyche_p2p.blobs.manifest import split_chunks
from psyche_p2p.errors import StorageError, Unavailable
from psyche_p2p.ids import BlobHash, RoundIndex
from tests.blobs.builders import make_large, make_parameters, make_update

BUDGET = 1 << 26
ROUND = RoundIndex(7)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore.open(tmp_path / "store", BUDGET)


def chunks_of(sealed: SealedBlob) -> list[bytes]:
    return [bytes(chunk) for chunk in split_chunks(sealed.pieces)]


def age(store: BlobStore, blob_hash: BlobHash, seconds: int) -> None:
    os.utime(store.folders.blob(blob_hash), (seconds, seconds))


@pytest.mark.parametrize(
    "make", [make_update, make_parameters, functools.partial(make_large, 3_000_000)]
)
def test_what_is_added_can_be_read(store: BlobStore, make: Callable[[], SealedBlob]) -> None:
    sealed = make()
    blob_hash = store.add(sealed)
    assert blob_hash == sealed.blob_hash
    assert store.has(blob_hash)
    assert store.hashes() == [blob_hash]
    assert bytes(store.read(blob_hash)) == sealed.to_bytes()
    assert store.manifest(blob_hash) == sealed.manifest
    served = [store.read_chunk(blob_hash, index) for index in range(len(sealed.manifest.chunks))]
    assert served == chunks_of(sealed)


def test_adding_twice_is_adding_once(store: BlobStore) -> None:
    sealed = make_update()
    assert store.add(sealed) == store.add(sealed)
    assert store.usage().blobs == 1
    assert store.usage().size_bytes == sealed.manifest.size_bytes


def test_a_blob_appears_only_when_all_of_it_is_there(store: BlobStore) -> None:
    sealed = make_large(2 * CHUNK_BYTES + 5)
    chunks = chunks_of(sealed)
    partial = store.receive(sealed.manifest)
    assert partial is not None
    with partial:
        for index in (2, 0):
            partial.write_chunk(index, chunks[index])
        with pytest.raises(StorageError, match="still lacks 1 chunks"):
            store.publish(partial)
        assert not store.has(sealed.blob_hash)
        assert store.incomplete() == [sealed.blob_hash]
        partial.write_chunk(1, chunks[1])
        store.publish(partial)
    assert bytes(store.read(sealed.blob_hash)) == sealed.to_bytes()
    assert store.incomplete() == []
    assert store.receive(sealed.manifest) is None


@settings(max_examples=20)  # every example waits for the disk
@given(kept=st.sets(st.integers(0, 4)))
def test_a_transfer_resumes_with_what_it_had(
    tmp_path_factory: pytest.TempPathFactory, kept: set[int]
) -> None:
    store = BlobStore.open(tmp_path_factory.mktemp("store"), BUDGET)
    sealed = make_large(4 * CHUNK_BYTES + 1)
    chunks = chunks_of(sealed)
    with begin(store, sealed) as partial:
        for index in kept:
            partial.write_chunk(index, chunks[index])
    with begin(store, sealed) as partial:
        assert partial.missing() == sorted(set(range(5)) - kept)
        for index in partial.missing():
            partial.write_chunk(index, chunks[index])
        store.publish(partial)
    assert bytes(store.read(sealed.blob_hash)) == sealed.to_bytes()


def test_a_wrong_chunk_is_refused_before_it_is_written(store: BlobStore) -> None:
    sealed = make_large(2 * CHUNK_BYTES)
    chunks = chunks_of(sealed)
    with begin(store, sealed) as partial:
        for index, data in ((0, chunks[1]), (0, chunks[0][:-1]), (0, b""), (3, chunks[0])):
            with pytest.raises(BlobError):
                partial.write_chunk(index, data)
        assert partial.missing() == [0, 1, 2]
        assert not any(partial.data_path.read_bytes())


def test_threads_may_write_chunks_at_once(store: BlobStore) -> None:
    sealed = make_large(20 * CHUNK_BYTES)
    chunks = chunks_of(sealed)
    with begin(store, sealed) as partial:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(partial.write_chunk, range(21), chunks))
        store.publish(partial)
    assert bytes(store.read(sealed.blob_hash)) == sealed.to_bytes()
    with pytest.raises(StorageError, match="Bad file descriptor"):
        partial.write_chunk(0, chunks[0])


@pytest.mark.parametrize("bits", [b"", b"\xff", b"\xff" * 9, b"\xff\xff", b"\x00\x00"])
def test_the_bits_are_never_believed(store: BlobStore, bits: bytes) -> None:
    sealed = make_large(9 * CHUNK_BYTES)
    with begin(store, sealed) as partial:
        partial.write_chunk(3, chunks_of(sealed)[3])
        folder = partial.folder
    (folder / "have").write_bytes(bits)
    with begin(store, sealed) as partial:
        believed = set(range(10)) - set(partial.missing())
        assert believed == ({3} if bits == b"\xff\xff" else set())


def test_a_partial_blob_belongs_to_one_at_a_time(store: BlobStore) -> None:
    sealed = make_large(CHUNK_BYTES)
    other = BlobStore.open(store.folders.root, BUDGET)
    with begin(store, sealed), pytest.raises(Unavailable, match="another process is fetching"):
        other.receive(sealed.manifest)
    with begin(other, sealed):
        pass


def test_what_others_must_not_see_halfway_happens_under_the_lock(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making room, the renames of publishing, and pinning: each finds the store's lock taken."""
    seen: list[str] = []

    def watch(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            with store.folders.lock_file.open() as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seen.append(name)
            return original(*arguments)

        return called

    for name in ("make_room", "sync_folder", "remove_blob"):
        original = getattr(store_module, name)
        monkeypatch.setattr(store_module, name, watch(name, original))
    blob_hash = store.add(make_update())
    monkeypatch.setattr(store, "has", watch("pin", store.has))
    store.pin(blob_hash, ROUND)
    store.remove(blob_hash)
    assert seen == ["make_room", "sync_folder", "pin", "remove_blob"]


def test_the_oldest_blob_makes_room(tmp_path: Path) -> None:
    store = BlobStore.open(tmp_path, 3_500_000)
    old, older, new = (make_large(1_000_000, seed) for seed in range(3))
    for seconds, sealed in ((2000, old), (1000, older), (3000, new)):
        age(store, store.add(sealed), seconds)
    store.add(make_large(1_000_000, seed=3))
    assert not store.has(older.blob_hash)
    assert store.has(old.blob_hash)
    assert store.has(new.blob_hash)
    assert store.usage().size_bytes <= 3_500_000


def test_what_a_round_holds_is_never_evicted(tmp_path: Path) -> None:
    store = BlobStore.open(tmp_path, 2_500_000)
    held, free = make_large(1_000_000, 0), make_large(1_000_000, 1)
    age(store, store.add(held), 1000)
    age(store, store.add(free), 2000)
    assert store.pin(held.blob_hash, ROUND)
    store.add(make_large(1_000_000, 2))
    assert store.has(held.blob_hash)
    assert not store.has(free.blob_hash)
    assert store.usage().pinned_bytes == held.manifest.size_bytes


def test_a_blob_that_cannot_fit_costs_nothing_that_is_there(tmp_path: Path) -> None:
    store = BlobStore.open(tmp_path, 2_500_000)
    held, free = make_large(1_000_000, 0), make_large(1_000_000, 1)
    store.add(held)
    store.add(free)
    store.pin(held.blob_hash, ROUND)
    with pytest.raises(StorageError, match="may hold 2500000, and too much of that is held"):
        store.add(make_large(2_000_000, 2))
    assert store.has(held.blob_hash)
    assert store.has(free.blob_hash)
    assert store.incomplete() == []


def test_an_abandoned_transfer_makes_room_and_one_at_work_does_not(tmp_path: Path) -> None:
    store = BlobStore.open(tmp_path, 2_500_000)
    sealed, small = make_large(2_000_000), make_large(300_000, 2)
    store.add(small)
    with begin(store, sealed), pytest.raises(StorageError, match="or being fetched"):
        store.add(make_large(1_000_000, 1))
    assert store.incomplete() == [sealed.blob_hash]
    assert store.has(small.blob_hash)
    store.add(make_large(1_000_000, 1))
    assert store.incomplete() == []


def test_a_round_may_hold_a_blob_that_is_still_to_come(store: BlobStore) -> None:
    sealed = make_update()
    assert not store.pin(sealed.blob_hash, ROUND)
    store.add(sealed)
    assert store.pin(sealed.blob_hash, ROUND)
    assert store.pin(sealed.blob_hash, RoundIndex(8))
    assert store.holders(sealed.blob_hash) == [7, 8]
    store.release_rounds(RoundIndex(8))
    assert store.holders(sealed.blob_hash) == [8]
    store.unpin(sealed.blob_hash, RoundIndex(8))
    store.unpin(sealed.blob_hash, RoundIndex(8))
    assert store.holders(sealed.blob_hash) == []
    assert store.usage().pinned_bytes == 0


def test_a_reader_keeps_a_blob_that_is_removed(store: BlobStore) -> None:
    sealed = make_large(3 * CHUNK_BYTES)
    data = store.read(store.add(sealed))
    store.remove(sealed.blob_hash)
    assert not store.has(sealed.blob_hash)
    assert bytes(data) == sealed.to_bytes()
    with pytest.raises(StorageError, match=f"{sealed.blob_hash.hex()} is not in this store"):
        store.read(sealed.blob_hash)


def test_a_removed_blob_is_no_longer_served(store: BlobStore) -> None:
    blobs = [make_update(seed) for seed in range(40)]
    for sealed in blobs:
        assert store.read_chunk(store.add(sealed), 0) == sealed.to_bytes()
    for sealed in (blobs[0], blobs[-1]):
        store.remove(sealed.blob_hash)
        with pytest.raises(StorageError, match="is not in this store"):
            store.read_chunk(sealed.blob_hash, 0)


@pytest.mark.parametrize("damage", [None, b"", b"junk"])
def test_a_lost_manifest_is_made_anew(store: BlobStore, damage: bytes | None) -> None:
    sealed = make_large(2 * CHUNK_BYTES)
    path = store.folders.manifest(store.add(sealed))
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert store.manifest(sealed.blob_hash) == sealed.manifest
    assert path.exists()


@pytest.mark.parametrize("name", [b"", b"../../../etc/passwd", bytes(31), bytes(33)])
def test_nothing_but_a_hash_becomes_a_path(store: BlobStore, name: bytes) -> None:
    store.pin(BlobHash(bytes(32)), ROUND)
    for call in (store.has, store.read, store.manifest, store.remove, store.holders):
        with pytest.raises(ValueError, match="32 bytes"):
            call(BlobHash(name))
    with pytest.raises(ValueError, match="32 bytes"):
        store.pin(BlobHash(name), ROUND)
    with pytest.raises(ValueError, match="no round"):
        store.pin(BlobHash(bytes(32)), RoundIndex(-1))


def test_a_link_out_of_the_store_is_not_followed(store: BlobStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    blob_hash = make_update().blob_hash
    path = store.folders.blob(blob_hash)
    path.parent.mkdir()
    path.symlink_to(secret)
    with pytest.raises(StorageError, match="cannot read"):
        store.read(blob_hash)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot make a blob store in .*file"):
        BlobStore.open(tmp_path / "file", BUDGET)


def begin(store: BlobStore, sealed: SealedBlob) -> PartialBlob:
    partial = store.receive(sealed.manifest)
    assert partial is not None
    return partial
