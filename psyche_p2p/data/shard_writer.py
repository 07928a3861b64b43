"""Tokens into shards of one size: each grows under another name until it is whole.

shard-00007.bin.part     grows; what is beyond the last saved length is thrown away on resuming
shard-00007.bin          whole, on disk, its block hashes beside it
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from psyche_p2p.data.blocks import SUFFIX, BlockHasher, digest_of_blocks
from psyche_p2p.data.manifest import ManifestEntry
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error, sync_folder, write_atomically

_READ_BYTES = 4 << 20


class ShardWriter:
    """Appends bytes to a folder's shards. Every failure of the disk is a StorageError."""

    def __init__(self, folder: Path, shard_bytes: int, entries: list[ManifestEntry]) -> None:
        self.entries = entries
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._file: BinaryIO | None = None
        self._hasher = BlockHasher()
        self.part_bytes = 0
        """The length of the shard that is not whole yet."""

    def resume(self, part_bytes: int) -> None:
        """Go on after the first `part_bytes` of the shard that was being written."""
        if part_bytes == 0:
            return
        part, whole = self._part_path(), self._whole_path()
        try:
            if not part.exists() and whole.exists():  # stopped between the name and the note of it
                whole.replace(part)
            self._file = part.open("r+b")
            self._rehash(self._file, part_bytes)
            self._file.truncate(part_bytes)
        except OSError as error:
            raise storage_error("cannot go on with the shard", part, error) from error
        self.part_bytes = part_bytes

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            room = self._shard_bytes - self.part_bytes
            self._append(view[:room])
            view = view[room:]
            if self.part_bytes == self._shard_bytes:
                self.finish_shard()

    def save(self) -> None:
        """Have on disk what was written: a note of `part_bytes` is true from now on."""
        if self._file is not None:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise storage_error("cannot write", self._part_path(), error) from error

    def finish_shard(self) -> None:
        """Give the open shard, if there is one, its name and its hashes."""
        if self._file is None:
            return
        self.save()
        hashes, whole = self._hasher.finish(), self._whole_path()
        write_atomically(whole.with_name(whole.name + SUFFIX), hashes)
        try:
            self._file.close()
            self._part_path().replace(whole)
            sync_folder(self._folder)
        except OSError as error:
            raise storage_error("cannot write", whole, error) from error
        self.entries.append(ManifestEntry(whole.name, self.part_bytes, digest_of_blocks(hashes)))
        self._file, self._hasher, self.part_bytes = None, BlockHasher(), 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _append(self, data: memoryview) -> None:
        try:
            if self._file is None:
                self._file = self._part_path().open("wb")
            self._file.write(data)
        except OSError as error:
            raise storage_error("cannot write", self._part_path(), error) from error
        self._hasher.update(data)
        self.part_bytes += len(data)

    def _rehash(self, file: BinaryIO, part_bytes: int) -> None:
        left = part_bytes
        while left and (data := file.read(min(left, _READ_BYTES))):
            self._hasher.update(data)
            left -= len(data)
        if left:
            cause = f"{self._part_path().name} has lost its last {left} bytes"
            raise DataError(cause, "start over with --again")

    def _whole_path(self) -> Path:
        return self._folder / f"shard-{len(self.entries):05}.bin"

    def _part_path(self) -> Path:
        return self._folder / f"{self._whole_path().name}.part"
