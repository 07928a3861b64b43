"""Reads every blob back, and turns what the disk has spoilt into blobs to be fetched again.

A damaged blob keeps its good chunks: it becomes a partial blob that lacks only the bad ones, so a
flipped bit costs a mebibyte of network, not the whole blob. Where its manifest is gone too, nothing
about it can be trusted and it is deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from psyche_p2p.blobs.budget import remove_blob
from psyche_p2p.blobs.folders import hold_lock
from psyche_p2p.blobs.manifest import CHUNK_BYTES, compute_blob_hash, compute_manifest
from psyche_p2p.blobs.partial import PartialBlob, open_partial, try_remove_partial
from psyche_p2p.blobs.store import BlobStore, read_manifest
from psyche_p2p.files import storage_error
from psyche_p2p.ids import BlobHash, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.wire import ChunkManifest

_log = get_logger(__name__)
_WRITABLE = 0o644


@dataclass(frozen=True, slots=True)
class DamagedBlob:
    """A blob that is no longer what its name says."""

    blob_hash: BlobHash
    manifest: ChunkManifest | None
    """None if that was lost too: the blob was deleted."""
    missing: tuple[int, ...]
    """The chunks to fetch again; the others were kept."""


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """What a scrub found."""

    blobs: int
    size_bytes: int
    damaged: tuple[DamagedBlob, ...]


def scrub_store(
    store: BlobStore, on_progress: Callable[[int], None] = lambda _: None
) -> ScrubReport:
    """Check every blob; `on_progress` is told the bytes of each blob checked."""
    blobs = size_bytes = 0
    damaged = []
    for blob_hash, status in list(store.folders.list_blobs()):
        finding = check_blob(store, blob_hash)
        blobs += 1
        size_bytes += status.st_size
        if finding is not None:
            damaged.append(finding)
        on_progress(status.st_size)
    _sweep(store)
    return ScrubReport(blobs, size_bytes, tuple(damaged))


def check_blob(store: BlobStore, blob_hash: BlobHash) -> DamagedBlob | None:
    """Read one blob back; if it is damaged, take it out of service and say what to fetch again."""
    if _is_sound(store, blob_hash) or not store.has(blob_hash):
        return None
    manifest = read_manifest(store.folders.manifest(blob_hash), blob_hash)
    if manifest is None:
        store.remove(blob_hash)
        finding = DamagedBlob(blob_hash, None, ())
    else:
        missing = _take_apart(store, manifest)
        if missing is None:
            return None
        finding = DamagedBlob(blob_hash, manifest, missing)
    _log.warning("damaged blob", blob=short_id(blob_hash), missing=len(finding.missing))
    return finding


def _is_sound(store: BlobStore, blob_hash: BlobHash) -> bool:
    """Read, not mapped: a sector that cannot be read is an error then, and not a signal."""
    try:
        with store.folders.blob(blob_hash).open("rb", buffering=0) as file:
            manifest = compute_manifest(iter(lambda: file.read(CHUNK_BYTES), b""))
    except OSError:
        return False
    return compute_blob_hash(manifest) == blob_hash


def _take_apart(store: BlobStore, manifest: ChunkManifest) -> tuple[int, ...] | None:
    """Make a damaged blob a partial one: the chunks it lacks, or None if it is gone meanwhile."""
    blob_hash = compute_blob_hash(manifest)
    partial = open_partial(store.folders.partial(blob_hash), manifest, wait=True)
    with partial:
        try:
            is_ours = _move_into(store, partial)
        except OSError as error:
            raise storage_error("cannot take apart", partial.folder, error) from error
        if not is_ours:
            partial.abandon()
            return None
        partial.reserve()
        partial.resume()
        return tuple(partial.missing())


def _move_into(store: BlobStore, partial: PartialBlob) -> bool:
    """Move the blob's file there, every chunk marked as one to check; False if it is gone."""
    path = store.folders.blob(partial.blob_hash)
    with hold_lock(store.folders.lock_file):
        if not path.exists():
            return False  # evicted, or taken apart by another scrub
        bits = bytes([0xFF]) * (-(-len(partial.manifest.chunks) // 8))
        (partial.folder / "have").write_bytes(bits)
        path.chmod(_WRITABLE)
        path.replace(partial.data_path)
        remove_blob(store.folders, partial.blob_hash)
    return True


def _sweep(store: BlobStore) -> None:
    """Remove what killed processes left: manifests without blobs, folders of finished blobs."""
    with hold_lock(store.folders.lock_file):
        for path in store.folders.list_orphan_manifests():
            path.unlink(missing_ok=True)
    for blob_hash in store.incomplete():
        if store.has(blob_hash):
            try_remove_partial(store.folders.partial(blob_hash))
