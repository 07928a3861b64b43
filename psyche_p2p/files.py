"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from psyche_p2p.errors import StorageError

_CURES = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your disk quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder you may write, or mend its permissions",
    errno.EPERM: "choose a folder you may write, or mend its permissions",
    errno.ENOENT: "create the folder first",
    errno.ENOTDIR: "choose a path whose parents are folders",
    errno.EEXIST: "choose another name, or move the old file away",
    errno.EISDIR: "choose the name of a file, not of a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write a file so that a crash at any moment leaves the old content or the new, on disk.

    With `replace=False` an existing file is left alone and reported. Every failure is a
    StorageError, after which no temporary file is left behind.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    except (OSError, ValueError) as error:
        raise storage_error("cannot write", path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error("cannot write", path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(action: str, path: Path, error: OSError | ValueError) -> StorageError:
    """An OSError (or a NUL in a path) in our own words: what failed, why, what to do."""
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    code = error.errno if isinstance(error, OSError) else None
    return StorageError(f"{action} {str(path)!r}: {reason}", _CURES.get(code or 0, ""))
