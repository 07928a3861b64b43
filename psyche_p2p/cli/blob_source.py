"""Where `inspect-blob` finds what it is told to look at: a file, or a hash in a store."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psyche_p2p.blobs import BlobStore, compute_blob_hash, compute_manifest
from psyche_p2p.blobs.folders import StoreFolders, parse_hash
from psyche_p2p.errors import StorageError
from psyche_p2p.files import storage_error
from psyche_p2p.ids import BlobHash

_SHORTEST_HASH = 6
_DEEPEST_STORE = 4
_HEXADECIMAL = set("0123456789abcdef")


@dataclass(frozen=True, slots=True, eq=False)
class BlobSource:
    """The bytes of a blob, and the hash they were found under if they came from a store."""

    name: str
    data: memoryview
    wanted_hash: BlobHash | None

    def compute_hash(self) -> BlobHash:
        """The hash that the bytes really have."""
        return compute_blob_hash(compute_manifest([self.data]))


def open_source(text: str, stores: Path) -> BlobSource:
    """The file of that name, else the blob whose hash begins so in a store at or below `stores`."""
    path = Path(text)
    if path.exists():
        return BlobSource(text, _map_file(path), None)
    if len(text) < _SHORTEST_HASH or not set(text) <= _HEXADECIMAL:
        raise StorageError(
            f"there is no file {text!r}",
            f"give a file, or at least {_SHORTEST_HASH} hexadecimal digits of a blob's hash",
        )
    found = {
        blob_hash: folders
        for folders in find_stores(stores)
        for blob_hash in _matching(folders, text)
    }
    if len(found) > 1:
        raise StorageError(f"{len(found)} blobs begin with {text}", "give more digits")
    for blob_hash, folders in found.items():
        data = BlobStore(folders, 0).read(blob_hash)
        return BlobSource(str(folders.blob(blob_hash)), data, blob_hash)
    raise _not_found(text, stores)


def find_stores(root: Path) -> Iterator[StoreFolders]:
    """The stores in a folder and a few levels below it."""
    patterns = ["/".join(["*"] * depth + ["partial"]) for depth in range(_DEEPEST_STORE)]
    for pattern in patterns:
        for partials in sorted(root.glob(pattern)):
            folders = StoreFolders(partials.parent)
            if folders.blobs.is_dir() and folders.pins.is_dir():
                yield folders


def _matching(folders: StoreFolders, digits: str) -> list[BlobHash]:
    """The complete blobs of a store whose hash begins with these digits."""
    names = [path.name for path in (folders.blobs / digits[:2]).glob(f"{digits}*")]
    return [found for found in map(parse_hash, names) if found is not None]


def _not_found(digits: str, stores: Path) -> StorageError:
    for folders in find_stores(stores):
        for path in folders.partials.glob(f"{digits}*"):
            return StorageError(
                f"blob {path.name} is not complete: its transfer was interrupted",
                "start the peer again, which fetches the rest",
            )
    return StorageError(
        f"no store in {str(stores)!r} holds a blob {digits}",
        "name the folder of the store with --store",
    )


def _map_file(path: Path) -> memoryview:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise StorageError(f"{str(path)!r} is not a regular file", "give a blob's file")
            if not status.st_size:
                return memoryview(b"")
            return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error("cannot read", path, error) from error
