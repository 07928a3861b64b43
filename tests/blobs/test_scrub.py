"""A spoilt disk: found, reported, and repaired by fetching only what is bad."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from psyche_p2p.blobs import (
    CHUNK_BYTES,
    BlobStore,
    DamagedBlob,
    PartialBlob,
    SealedBlob,
    check_blob,
    scrub_store,
)
from psyche_p2p.blobs.manifest import split_chunks
from psyche_p2p.blobs.partial import open_partial
from psyche_p2p.errors import StorageError
from psyche_p2p.ids import RoundIndex
from psyche_p2p.wire import ChunkManifest
from tests.blobs.builders import make_large, make_update

BUDGET = 1 << 26
SIZE = 5 * CHUNK_BYTES
CHUNKS = 6  # with the header


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore.open(tmp_path, BUDGET)


def change_file(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.chmod(0o644)
    path.write_bytes(data)


def flip(offset: int) -> Callable[[bytearray], object]:
    def change(data: bytearray) -> None:
        data[offset] ^= 0x10

    return change


def fetch_missing(store: BlobStore, manifest: ChunkManifest, source: SealedBlob) -> list[int]:
    """What a peer does after a scrub: ask another for the chunks that are missing."""
    partial = store.receive(manifest)
    assert partial is not None
    with partial:
        missing = partial.missing()
        chunks = list(split_chunks(source.pieces))
        for index in missing:
            partial.write_chunk(index, chunks[index])
        store.publish(partial)
    return missing


def test_a_sound_store_has_nothing_to_report(store: BlobStore) -> None:
    sealed = [make_update(1), make_update(2)]
    sizes = [each.manifest.size_bytes for each in sealed]
    for each in sealed:
        store.add(each)
    report = scrub_store(store)
    assert (report.blobs, report.size_bytes, report.damaged) == (2, sum(sizes), ())


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (flip(0), (0,)),
        (flip(2 * CHUNK_BYTES + 9), (2,)),
        (flip(-1), (5,)),
        (lambda data: (flip(CHUNK_BYTES)(data), flip(4 * CHUNK_BYTES)(data)), (1, 4)),
        (lambda data: data.__delitem__(slice(3 * CHUNK_BYTES + 1, None)), (3, 4, 5)),
        (lambda data: data.extend(b"tail"), ()),
        (lambda data: data.clear(), (0, 1, 2, 3, 4, 5)),
        (lambda data: data.reverse(), (0, 1, 2, 3, 4, 5)),
    ],
    ids=["first", "middle", "last", "two", "cut", "longer", "empty", "all"],
)
def test_only_the_bad_chunks_are_fetched_again(
    store: BlobStore, change: Callable[[bytearray], object], missing: tuple[int, ...]
) -> None:
    sealed = make_large(SIZE)
    change_file(store.folders.blob(store.add(sealed)), change)
    store.pin(sealed.blob_hash, RoundIndex(1))
    told: list[int] = []
    report = scrub_store(store, told.append)
    assert report.damaged == (DamagedBlob(sealed.blob_hash, sealed.manifest, missing),)
    assert len(told) == 1
    assert not store.has(sealed.blob_hash)
    assert fetch_missing(store, sealed.manifest, sealed) == list(missing)
    assert bytes(store.read(sealed.blob_hash)) == sealed.to_bytes()
    assert scrub_store(store).damaged == ()
    assert store.holders(sealed.blob_hash) == [1]


def test_without_a_manifest_a_damaged_blob_is_deleted(store: BlobStore) -> None:
    sealed = make_large(SIZE)
    store.add(sealed)
    change_file(store.folders.blob(sealed.blob_hash), flip(5))
    store.folders.manifest(sealed.blob_hash).write_bytes(b"junk")
    assert check_blob(store, sealed.blob_hash) == DamagedBlob(sealed.blob_hash, None, ())
    assert store.hashes() == store.incomplete() == []
    store.add(sealed)
    assert check_blob(store, sealed.blob_hash) is None


def test_damage_is_noticed_before_it_is_served(store: BlobStore) -> None:
    sealed = make_large(SIZE)
    store.add(sealed)
    change_file(store.folders.blob(sealed.blob_hash), flip(2 * CHUNK_BYTES))
    assert store.read_chunk(sealed.blob_hash, 1)
    with pytest.raises(StorageError, match="damaged; scrub the store and fetch it again"):
        store.read_chunk(sealed.blob_hash, 2)


def test_a_disk_that_cannot_be_read_is_damage(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second chunk's sectors are bad: reading them fails until they are written again."""
    sealed = make_large(SIZE)
    store.add(sealed)
    change_file(store.folders.blob(sealed.blob_hash), flip(CHUNK_BYTES))
    read = os.pread

    def failing(descriptor: int, length: int, offset: int) -> bytes:
        if offset == CHUNK_BYTES:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", failing)
    finding = check_blob(store, sealed.blob_hash)
    monkeypatch.undo()
    assert finding is not None
    assert finding.missing == (1,)
    assert fetch_missing(store, sealed.manifest, sealed) == [1]


def test_a_blob_that_vanishes_meanwhile_is_not_reported(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = make_large(SIZE)
    store.add(sealed)
    change_file(store.folders.blob(sealed.blob_hash), flip(0))

    def slowly(*arguments: Any, **keywords: Any) -> PartialBlob:
        store.remove(sealed.blob_hash)
        return open_partial(*arguments, **keywords)

    monkeypatch.setattr("psyche_p2p.blobs.scrub.open_partial", slowly)
    assert check_blob(store, sealed.blob_hash) is None
    assert store.incomplete() == []


def test_what_killed_processes_left_is_swept_up(store: BlobStore) -> None:
    sealed, gone = make_large(SIZE), make_update()
    for each in (sealed, gone):
        store.add(each)
    store.folders.blob(gone.blob_hash).unlink()
    leftover = store.folders.partial(sealed.blob_hash)
    leftover.mkdir()
    (leftover / "have").write_bytes(b"\xff")
    assert scrub_store(store).damaged == ()
    assert store.hashes() == [sealed.blob_hash]
    assert not store.folders.manifest(gone.blob_hash).exists()
    assert not leftover.exists()
