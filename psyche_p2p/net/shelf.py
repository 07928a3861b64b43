"""What this peer serves of its store: whole blobs, and chunks of those that are on their way.

A chunk is checked when it is first read from an open blob: to hand on what a bad disk made of it
would make us look like a liar.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict

from psyche_p2p.blobs import CHUNK_BYTES, BlobStore, PartialBlob
from psyche_p2p.blobs.manifest import chunk_length, is_chunk
from psyche_p2p.errors import StorageError
from psyche_p2p.files import storage_error
from psyche_p2p.ids import BlobHash, short_id
from psyche_p2p.net.errors import NotHeld
from psyche_p2p.wire import ChunkManifest
from psyche_p2p.wire.bulk import Holding

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
MAX_OPEN_BLOBS = 64
NOTHING = Holding(0, b"")


class OpenBlob:
    """A blob's file and manifest; stays readable when the store evicts the blob."""

    def __init__(
        self, manifest: ChunkManifest, descriptor: int, partial: PartialBlob | None
    ) -> None:
        self.manifest = manifest
        self._descriptor = descriptor
        self._partial = partial
        self._checked = bytearray(len(manifest.chunks))
        weakref.finalize(self, os.close, descriptor)

    def require(self, index: int) -> None:
        """NotHeld unless the chunk is here."""
        if index >= len(self.manifest.chunks):
            raise NotHeld(f"there is no chunk {index}")
        if self._partial is not None and index in self._partial.missing():
            raise NotHeld(f"chunk {index} is not here yet")

    def read(self, index: int) -> bytes:
        """One chunk as it was hashed; a StorageError if the disk gives something else."""
        length = chunk_length(self.manifest, index)
        try:
            data = os.pread(self._descriptor, length, index * CHUNK_BYTES)
        except OSError as error:
            raise StorageError(f"cannot read a blob: {error.strerror}") from error
        if not self._checked[index]:
            if not is_chunk(self.manifest, index, data):
                raise StorageError(f"chunk {index} of a blob is damaged", "scrub the store")
            self._checked[index] = 1
        return data


class Shelf:
    """The blobs of a store that others may read; safe to use from threads."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._open: OrderedDict[BlobHash, OpenBlob] = OrderedDict()
        self._partials: dict[BlobHash, PartialBlob] = {}
        self._lock = threading.Lock()

    def share(self, blob_hash: BlobHash, partial: PartialBlob) -> None:
        """Serve what is here of a blob on its way."""
        with self._lock:
            self._partials[blob_hash] = partial

    def unshare(self, blob_hash: BlobHash) -> None:
        """Stop that: the blob is complete, or given up."""
        with self._lock:
            self._partials.pop(blob_hash, None)
            self._open.pop(blob_hash, None)

    def holding(self, blob_hash: BlobHash) -> Holding:
        """Which chunks of a blob can be had here."""
        try:
            manifest = self.open(blob_hash).manifest
        except NotHeld:
            return NOTHING
        count = len(manifest.chunks)
        partial = self._partials.get(blob_hash)
        missing = partial.missing() if partial is not None else []
        bits = bytearray(b"\xff" * (count // 8) + bytes([(1 << count % 8) - 1] * (count % 8 > 0)))
        for index in missing:
            bits[index // 8] &= ~(1 << index % 8)
        return Holding(count, bytes(bits))

    def open(self, blob_hash: BlobHash) -> OpenBlob:
        """The blob, ready to be read; NotHeld if nothing of it is here."""
        with self._lock:
            found = self._open.pop(blob_hash, None) or self._open_anew(blob_hash)
            self._open[blob_hash] = found
            if len(self._open) > MAX_OPEN_BLOBS:
                self._open.popitem(last=False)
            return found

    def _open_anew(self, blob_hash: BlobHash) -> OpenBlob:
        partial = self._partials.get(blob_hash)
        if partial is None and not self._store.has(blob_hash):
            raise NotHeld(f"blob {short_id(blob_hash)} is not here")
        path = self._store.folders.blob(blob_hash) if partial is None else partial.data_path
        manifest = self._store.manifest(blob_hash) if partial is None else partial.manifest
        try:
            return OpenBlob(manifest, os.open(path, _READ_FLAGS), partial)
        except FileNotFoundError as error:
            raise NotHeld(f"blob {short_id(blob_hash)} was evicted") from error
        except OSError as error:
            raise storage_error("cannot read", path, error) from error

    def forget(self, blob_hash: BlobHash) -> None:
        """Open the blob anew next time: what we had open was damaged."""
        with self._lock:
            self._open.pop(blob_hash, None)
