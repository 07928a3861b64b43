"""A blob on its way: chunks arrive in any order, from anyone, and survive a crash.

A chunk is checked against the manifest before it is written, and its bit in `have` is set only
after it was. A power cut may still keep the bit and lose the chunk, so bits are a list of what to
check when the blob is opened again, never a proof.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.folders import lock_folder, unlock
from psyche_p2p.blobs.manifest import (
    CHUNK_BYTES,
    Buffer,
    chunk_length,
    compute_blob_hash,
    is_chunk,
)
from psyche_p2p.errors import StorageError, Unavailable
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.ids import BlobHash, short_id
from psyche_p2p.wire import ChunkManifest, encode

_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_WRITABLE = 0o644


class PartialBlob:
    """One process's hold on a blob on its way; made by `open_partial`, safe to use from threads."""

    def __init__(self, folder: Path, lock: int, manifest: ChunkManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._lock: int | None = lock
        self._data = -1
        self._bits = -1
        self._have = bytearray(-(-len(manifest.chunks) // 8))
        self._writing = threading.Lock()

    @property
    def blob_hash(self) -> BlobHash:
        return compute_blob_hash(self.manifest)

    @property
    def data_path(self) -> Path:
        return self.folder / "data"

    def missing(self) -> list[int]:
        """The chunks that are still to be fetched."""
        return [index for index in range(len(self.manifest.chunks)) if not self._has(index)]

    def write_chunk(self, index: int, data: Buffer) -> None:
        """Keep a chunk; a BlobError if it is not the manifest's, a StorageError if it won't fit."""
        if not is_chunk(self.manifest, index, data):
            raise BlobError(f"not chunk {index} of blob {short_id(self.blob_hash)}")
        try:
            with self._writing:  # also keeps `close` from handing our descriptor to another file
                _write_at(self._data, memoryview(data).cast("B"), index * CHUNK_BYTES)
                self._mark(index)
        except OSError as error:
            raise storage_error("cannot write", self.data_path, error) from error

    def reserve(self) -> None:
        """Open or make the data file at its full size, which the store's budget counts from now."""
        try:
            self._data = os.open(self.data_path, _OPEN_FLAGS, _WRITABLE)
            if os.fstat(self._data).st_size != self.manifest.size_bytes:
                os.ftruncate(self._data, self.manifest.size_bytes)
        except OSError as error:
            raise storage_error("cannot make", self.data_path, error) from error

    def resume(self) -> None:
        """Check every chunk that is marked as there; call after `reserve`."""
        try:
            self._write_manifest()
            self._bits = os.open(self.folder / "have", _OPEN_FLAGS, _WRITABLE)
            marked = os.pread(self._bits, len(self._have) + 1, 0)
            if len(marked) == len(self._have):
                self._have[:] = marked
            for index in range(len(self.manifest.chunks)):
                if self._has(index) and not self._is_good(index):
                    self._have[index // 8] &= ~(1 << index % 8)
            _write_at(self._bits, memoryview(self._have), 0)
            os.ftruncate(self._bits, len(self._have))
        except OSError as error:
            raise storage_error("cannot resume", self.folder, error) from error

    def seal(self) -> None:
        """Bring all chunks to the disk, ready to be published under the blob's name."""
        if self.missing():
            raise StorageError(
                f"blob {short_id(self.blob_hash)} still lacks {len(self.missing())} chunks",
                "fetch them first",
            )
        try:
            os.fsync(self._data)
        except OSError as error:
            raise storage_error("cannot write", self.data_path, error) from error

    def remove(self) -> None:
        """Delete what is left of the folder; call with the lock held."""
        remove_partial_files(self.folder)

    def abandon(self) -> None:
        """Let go of a blob that could not be begun, leaving no trace; one begun earlier stays."""
        is_begun = self.data_path.exists() and self.data_path.stat().st_size > 0
        if self._lock is not None and not is_begun:
            self.remove()
        self.close()

    def close(self) -> None:
        """Let go of the blob; its chunks stay for whoever opens it next."""
        with self._writing:
            for descriptor in (self._data, self._bits):
                if descriptor >= 0:
                    os.close(descriptor)
            self._data = self._bits = -1
            if self._lock is not None:
                unlock(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write_manifest(self) -> None:
        path, encoded = self.folder / "manifest", encode(self.manifest)
        if not path.is_file() or path.read_bytes() != encoded:
            write_atomically(path, encoded)

    def _has(self, index: int) -> bool:
        return bool(self._have[index // 8] >> index % 8 & 1)

    def _mark(self, index: int) -> None:
        self._have[index // 8] |= 1 << index % 8
        _write_at(self._bits, memoryview(self._have)[index // 8 : index // 8 + 1], index // 8)

    def _is_good(self, index: int) -> bool:
        length = chunk_length(self.manifest, index)
        try:
            data = os.pread(self._data, length, index * CHUNK_BYTES)
        except OSError:
            return False  # a sector that cannot be read; writing the chunk again may mend it
        return is_chunk(self.manifest, index, data)


def open_partial(folder: Path, manifest: ChunkManifest, *, wait: bool) -> PartialBlob:
    """Take a partial blob for this process alone; Unavailable if another has it and not `wait`.

    The files are not touched before `reserve` and `resume`.
    """
    try:
        lock = lock_folder(folder, wait=wait)
    except OSError as error:
        raise storage_error("cannot lock", folder, error) from error
    if lock is None:
        raise Unavailable(f"another process is fetching blob {folder.name}")
    return PartialBlob(folder, lock, manifest)


def try_remove_partial(folder: Path) -> bool:
    """Delete a partial blob unless some process is at work on it."""
    try:
        lock = lock_folder(folder, wait=False)
        if lock is None:
            return False
        try:
            remove_partial_files(folder)
        finally:
            unlock(lock)
    except OSError as error:
        raise storage_error("cannot remove", folder, error) from error
    return True


def remove_partial_files(folder: Path) -> None:
    """Delete a partial blob's files and folder; the caller holds its lock."""
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    folder.rmdir()


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of it: a disk that is nearly full takes only a part."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
