"""The store of blobs on disk: each under its hash, whole or not at all, shared by processes.

Complete blobs are never changed in place. They appear by a rename after every chunk was checked,
and disappear only when no round holds them and room is needed. See `folders.py` for the files and
docs/design.md, "Blobs", for what each crash leaves behind.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from psyche_p2p.blobs.budget import Usage, make_room, measure_usage, remove_blob
from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.folders import StoreFolders, hold_lock
from psyche_p2p.blobs.layout import SealedBlob
from psyche_p2p.blobs.manifest import (
    CHUNK_BYTES,
    chunk_length,
    compute_blob_hash,
    compute_manifest,
    decode_manifest,
    is_chunk,
    split_chunks,
)
from psyche_p2p.blobs.partial import PartialBlob, open_partial
from psyche_p2p.errors import StorageError
from psyche_p2p.files import storage_error, sync_folder, write_atomically
from psyche_p2p.ids import BlobHash, RoundIndex, short_id
from psyche_p2p.wire import ChunkManifest, encode

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ_ONLY = 0o444
_RECENT_MANIFESTS = 32
_NO_LIMIT = 2**63 - 1


class BlobStore:
    """The blobs of one run on this machine. Any number of processes may open the same folder."""

    def __init__(self, folders: StoreFolders, max_bytes: int) -> None:
        self._folders = folders
        self._max_bytes = max_bytes
        self._recent: dict[BlobHash, ChunkManifest] = {}
        self._remembering = threading.Lock()

    @staticmethod
    def open(root: Path, max_bytes: int) -> BlobStore:
        """The store in a folder, made if need be, that holds at most `max_bytes`."""
        folders = StoreFolders(root)
        folders.create()
        return BlobStore(folders, max_bytes)

    @property
    def folders(self) -> StoreFolders:
        return self._folders

    def has(self, blob_hash: BlobHash) -> bool:
        """Whether the whole blob is here."""
        return self._folders.blob(blob_hash).is_file()

    def hashes(self) -> list[BlobHash]:
        """Every complete blob."""
        return [found for found, _ in self._folders.list_blobs()]

    def incomplete(self) -> list[BlobHash]:
        """Every blob that was begun: fetch them on, or leave them to be evicted."""
        return [found for found, _ in self._folders.list_partials()]

    def usage(self) -> Usage:
        """How much is held, and how much of that by rounds."""
        return measure_usage(self._folders)

    def add(self, sealed: SealedBlob) -> BlobHash:
        """Keep a blob made here; waits if another process is writing the same one."""
        partial = self._open(sealed.manifest, wait=True)
        if partial is not None:
            with partial:
                chunks = split_chunks(sealed.pieces)
                missing = set(partial.missing())
                for index, chunk in enumerate(chunks):
                    if index in missing:
                        partial.write_chunk(index, chunk)
                self.publish(partial)
        return sealed.blob_hash

    def receive(self, manifest: ChunkManifest) -> PartialBlob | None:
        """Begin or resume fetching a blob; None if it is here already.

        Unavailable if another process is fetching it. Close the partial blob, or `publish` it once
        nothing is missing.
        """
        return self._open(manifest, wait=False)

    def publish(self, partial: PartialBlob) -> BlobHash:
        """Put a complete blob under its name, from where it is read and served."""
        blob_hash = partial.blob_hash
        target = self._folders.blob(blob_hash)
        partial.seal()
        try:
            with hold_lock(self._folders.lock_file):
                target.parent.mkdir(exist_ok=True)
                (partial.folder / "manifest").replace(self._folders.manifest(blob_hash))
                partial.data_path.replace(target)
                target.chmod(_READ_ONLY)
                sync_folder(target.parent)
                partial.remove()
        except OSError as error:
            raise storage_error("cannot store", target, error) from error
        return blob_hash

    def read(self, blob_hash: BlobHash) -> memoryview:
        """The blob, mapped into memory; stays readable even if the blob is evicted meanwhile."""
        path = self._folders.blob(blob_hash)
        try:
            with _opened(path) as descriptor:
                return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        except FileNotFoundError as error:
            raise _not_here(blob_hash) from error
        except (OSError, ValueError) as error:  # ValueError: the file is empty
            raise storage_error("cannot read", path, error) from error

    def read_chunk(self, blob_hash: BlobHash, index: int) -> bytes:
        """One chunk, checked before it is given to anyone; a StorageError if it is damaged."""
        manifest = self._recent_manifest(blob_hash)
        path = self._folders.blob(blob_hash)
        length = chunk_length(manifest, index)
        try:
            with _opened(path) as descriptor:
                data = os.pread(descriptor, length, index * CHUNK_BYTES)
        except FileNotFoundError as error:
            raise _not_here(blob_hash) from error
        except OSError as error:
            raise storage_error("cannot read", path, error) from error
        if not is_chunk(manifest, index, data):
            raise _damaged(blob_hash)
        return data

    def manifest(self, blob_hash: BlobHash) -> ChunkManifest:
        """The manifest of a complete or partial blob; made anew if its file is damaged."""
        for path in (
            self._folders.manifest(blob_hash),
            self._folders.partial(blob_hash) / "manifest",
        ):
            manifest = read_manifest(path, blob_hash)
            if manifest is not None:
                return manifest
        return self._rebuild_manifest(blob_hash)

    def pin(self, blob_hash: BlobHash, round_index: RoundIndex) -> bool:
        """Let a round hold a blob, here or still to come; True if the whole blob is here.

        Holding twice is holding once: after a crash nobody knows how often a count was raised, so
        the references of a blob are the rounds that name it.
        """
        path = self._folders.pin(blob_hash, round_index)
        try:
            with hold_lock(self._folders.lock_file):
                path.parent.mkdir(exist_ok=True)
                path.touch()
                return self.has(blob_hash)
        except OSError as error:
            raise storage_error("cannot pin", path, error) from error

    def unpin(self, blob_hash: BlobHash, round_index: RoundIndex) -> None:
        """Let go of one blob; it stays until room is needed."""
        path = self._folders.pin(blob_hash, round_index)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error("cannot unpin", path, error) from error

    def release_rounds(self, before: RoundIndex) -> None:
        """Let go of everything that rounds before this one hold."""
        try:
            with hold_lock(self._folders.lock_file):
                for round_index, folder in list(self._folders.list_pins()):
                    if round_index < before:
                        for path in folder.iterdir():
                            path.unlink(missing_ok=True)
                        folder.rmdir()
        except OSError as error:
            raise storage_error("cannot release rounds in", self._folders.pins, error) from error

    def holders(self, blob_hash: BlobHash) -> list[RoundIndex]:
        """The rounds that hold a blob."""
        rounds = [round_index for round_index, _ in self._folders.list_pins()]
        return [index for index in rounds if self._folders.pin(blob_hash, index).exists()]

    def remove(self, blob_hash: BlobHash) -> None:
        """Delete a complete blob, whoever holds it."""
        with hold_lock(self._folders.lock_file):
            remove_blob(self._folders, blob_hash)

    def _open(self, manifest: ChunkManifest, *, wait: bool) -> PartialBlob | None:
        blob_hash = compute_blob_hash(manifest)
        if self.has(blob_hash):
            return None
        partial = open_partial(self._folders.partial(blob_hash), manifest, wait=wait)
        with ExitStack() as on_failure:
            on_failure.callback(partial.abandon)
            begun = self._reserve(partial, blob_hash)
            on_failure.pop_all()
        return begun

    def _reserve(self, partial: PartialBlob, blob_hash: BlobHash) -> PartialBlob | None:
        with hold_lock(self._folders.lock_file):
            if self.has(blob_hash):  # it arrived while we waited
                partial.remove()
                partial.close()
                return None
            make_room(self._folders, partial.manifest.size_bytes, self._max_bytes, blob_hash)
            partial.reserve()
        partial.resume()
        return partial

    def _recent_manifest(self, blob_hash: BlobHash) -> ChunkManifest:
        """The manifest, kept from the last chunk that was served: it never changes."""
        manifest = self._recent.get(blob_hash) or self.manifest(blob_hash)
        with self._remembering:
            self._recent[blob_hash] = manifest
            while len(self._recent) > _RECENT_MANIFESTS:
                del self._recent[next(iter(self._recent))]
        return manifest

    def _rebuild_manifest(self, blob_hash: BlobHash) -> ChunkManifest:
        manifest = compute_manifest([self.read(blob_hash)])
        if compute_blob_hash(manifest) != blob_hash:
            raise _damaged(blob_hash)
        write_atomically(self._folders.manifest(blob_hash), encode(manifest))
        return manifest


def read_manifest(path: Path, blob_hash: BlobHash) -> ChunkManifest | None:
    """The manifest in a file of the store; None if it is not there or damaged."""
    try:
        return decode_manifest(path.read_bytes(), blob_hash, _NO_LIMIT)
    except (FileNotFoundError, BlobError):
        return None
    except OSError as error:
        raise storage_error("cannot read", path, error) from error


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, _READ_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _not_here(blob_hash: BlobHash) -> StorageError:
    return StorageError(f"blob {blob_hash.hex()} is not in this store", "fetch it first")


def _damaged(blob_hash: BlobHash) -> StorageError:
    return StorageError(
        f"blob {short_id(blob_hash)} on this disk is damaged", "scrub the store and fetch it again"
    )
