"""Folders that are either the old one or the new one, never a mixture.

The new folder is written beside the target, forced to disk, and put in its place by one rename; an
existing target is exchanged with it in one system call. A writer that was killed leaves a partial
folder behind, which the next writer clears away; a lock keeps two writers apart.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psyche_p2p.errors import StorageError
from psyche_p2p.files import storage_error, sync_folder

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends without an error."""
    if target.exists() and not replace:
        raise StorageError(f"{str(target)!r} exists already", "choose another name, or --replace")
    partial = target.parent / f".{target.name}.partial"
    try:
        lock = _claim(partial)
        try:
            yield partial
            _sync_files(partial)
            _put_in_place(partial, target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            os.close(lock)
    except OSError as error:
        raise storage_error("cannot write", target, error) from error


def _claim(partial: Path) -> int:
    """Lock the partial folder and empty it of what a killed writer left."""
    partial.mkdir(exist_ok=True)
    lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_same = os.path.samestat(os.fstat(lock), partial.stat())
    except (BlockingIOError, FileNotFoundError):
        is_same = False
    if not is_same:  # locked by another writer, or put in place by one since we opened it
        os.close(lock)
        raise StorageError(
            f"another process is writing {str(partial)!r}", "wait until it has finished"
        )
    for left_over in partial.iterdir():
        if left_over.is_dir() and not left_over.is_symlink():
            shutil.rmtree(left_over)
        else:
            left_over.unlink()
    return lock


def _sync_files(folder: Path) -> None:
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(folder)


def _put_in_place(partial: Path, target: Path) -> None:
    if target.exists():
        _exchange(partial, target)
    else:
        partial.rename(target)


def _exchange(left: Path, right: Path) -> None:
    """Swap two names in one step (renameat2 of Linux)."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise StorageError(
            f"this system cannot replace {str(right)!r} in one step", "choose a new name"
        )
    result = renameat2(
        _AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE
    )
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(right))
