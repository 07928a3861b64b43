"""How much a store holds, and what it gives up when something new needs room.

Only blobs that no round holds may go, the oldest first. If even all of them would not make enough
room nothing is touched: a blob that does not fit must not cost us those that did.
"""

from __future__ import annotations

from dataclasses import dataclass

from psyche_p2p.blobs.folders import StoreFolders, is_locked
from psyche_p2p.blobs.partial import try_remove_partial
from psyche_p2p.errors import StorageError
from psyche_p2p.files import storage_error
from psyche_p2p.ids import BlobHash, short_id
from psyche_p2p.log import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store holds, in bytes; a blob on its way counts with its full size."""

    blobs: int
    size_bytes: int
    pinned_bytes: int


@dataclass(frozen=True, slots=True, order=True)
class _Holding:
    """One complete or partial blob; the order is that of eviction."""

    modified_ns: int
    blob_hash: BlobHash
    size_bytes: int
    is_partial: bool
    is_pinned: bool


def measure_usage(folders: StoreFolders) -> Usage:
    """Count what is there."""
    holdings = _list_holdings(folders)
    return Usage(
        sum(not holding.is_partial for holding in holdings),
        sum(holding.size_bytes for holding in holdings),
        sum(holding.size_bytes for holding in holdings if holding.is_pinned),
    )


def make_room(folders: StoreFolders, wanted: int, max_bytes: int, keep: BlobHash) -> None:
    """Evict until `wanted` more bytes fit; call with the store's lock held.

    `keep` is the blob the room is for: what is there of it already is not counted and not evicted.
    """
    holdings = [held for held in _list_holdings(folders) if held.blob_hash != keep]
    excess = sum(holding.size_bytes for holding in holdings) + wanted - max_bytes
    candidates = sorted(holding for holding in holdings if _may_go(folders, holding))
    if excess > sum(holding.size_bytes for holding in candidates):
        raise _no_room(wanted, max_bytes)
    for holding in candidates:
        if excess <= 0:
            return
        if _evict(folders, holding):
            excess -= holding.size_bytes
    if excess > 0:  # someone has just begun to fetch what we meant to evict
        raise _no_room(wanted, max_bytes)


def remove_blob(folders: StoreFolders, blob_hash: BlobHash) -> None:
    """Delete a complete blob; readers that have mapped it keep what they mapped."""
    try:
        folders.blob(blob_hash).unlink(missing_ok=True)
        folders.manifest(blob_hash).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error("cannot remove", folders.blob(blob_hash), error) from error


def _may_go(folders: StoreFolders, holding: _Holding) -> bool:
    if holding.is_pinned:
        return False
    return not holding.is_partial or not is_locked(folders.partial(holding.blob_hash))


def _no_room(wanted: int, max_bytes: int) -> StorageError:
    return StorageError(
        f"no room for a blob of {wanted} bytes: the store may hold {max_bytes}, and too much of "
        "that is held by open rounds or being fetched",
        "raise the store's budget",
    )


def _evict(folders: StoreFolders, holding: _Holding) -> bool:
    if holding.is_partial:
        if not try_remove_partial(folders.partial(holding.blob_hash)):
            return False
    else:
        remove_blob(folders, holding.blob_hash)
    _log.debug("blob evicted", blob=short_id(holding.blob_hash), size_bytes=holding.size_bytes)
    return True


def _list_holdings(folders: StoreFolders) -> list[_Holding]:
    try:
        pinned = folders.pinned()
        complete = [
            _Holding(status.st_mtime_ns, found, status.st_size, False, found in pinned)
            for found, status in folders.list_blobs()
        ]
        return complete + [
            _Holding(
                status.st_mtime_ns, found, _partial_size(folders, found), True, found in pinned
            )
            for found, status in folders.list_partials()
        ]
    except OSError as error:
        raise storage_error("cannot list", folders.root, error) from error


def _partial_size(folders: StoreFolders, blob_hash: BlobHash) -> int:
    try:
        return (folders.partial(blob_hash) / "data").lstat().st_size
    except FileNotFoundError:
        return 0
