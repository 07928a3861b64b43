"""Where a store keeps things, and the file locks under which several processes share it.

    lock                     held while blobs appear, disappear, or are pinned
    blobs/4f/4f1c...         complete blobs, never changed in place
    blobs/4f/4f1c....manifest
    partial/4f1c.../         a blob on its way: `manifest`, `data`, and `have`, a bit for each chunk
    pins/00000000000000000012/4f1c...    round 12 holds this blob

Names are the hexadecimal digits of 32-byte hashes and the decimal digits of rounds: nothing that
came from outside ever becomes part of a path.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psyche_p2p.files import storage_error
from psyche_p2p.hashing import DIGEST_BYTES
from psyche_p2p.ids import BlobHash, RoundIndex

_ROUND_DIGITS = 20
_MANIFEST_SUFFIX = ".manifest"


class StoreFolders:
    """The paths of one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock_file = root / "lock"
        self.blobs = root / "blobs"
        self.partials = root / "partial"
        self.pins = root / "pins"

    def create(self) -> None:
        """Make what is missing; a StorageError if that cannot be done."""
        try:
            for folder in (self.blobs, self.partials, self.pins):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error("cannot make a blob store in", self.root, error) from error

    def blob(self, blob_hash: BlobHash) -> Path:
        name = _file_name(blob_hash)
        return self.blobs / name[:2] / name

    def manifest(self, blob_hash: BlobHash) -> Path:
        path = self.blob(blob_hash)
        return path.with_name(path.name + _MANIFEST_SUFFIX)

    def partial(self, blob_hash: BlobHash) -> Path:
        return self.partials / _file_name(blob_hash)

    def pin(self, blob_hash: BlobHash, round_index: RoundIndex) -> Path:
        return self.round_pins(round_index) / _file_name(blob_hash)

    def round_pins(self, round_index: RoundIndex) -> Path:
        if round_index < 0:
            raise ValueError(f"there is no round {round_index}")
        return self.pins / f"{round_index:0{_ROUND_DIGITS}}"

    def list_blobs(self) -> Iterator[tuple[BlobHash, os.stat_result]]:
        """Every complete blob with its file's size and times, in the order of the hashes."""
        for first_byte in range(256):
            yield from _list_with_status(self.blobs / f"{first_byte:02x}")

    def list_partials(self) -> Iterator[tuple[BlobHash, os.stat_result]]:
        """Every blob on its way."""
        return _list_with_status(self.partials)

    def list_orphan_manifests(self) -> list[Path]:
        """Manifests whose blob is gone: left by a process that was killed at the wrong moment."""
        manifests = self.blobs.glob(f"*/*{_MANIFEST_SUFFIX}")
        return [path for path in manifests if not path.with_suffix("").exists()]

    def list_pins(self) -> Iterator[tuple[RoundIndex, Path]]:
        """Every round that holds blobs, with the folder that names them."""
        for folder in sorted(self.pins.iterdir()):
            if len(folder.name) == _ROUND_DIGITS and folder.name.isdecimal():
                yield RoundIndex(int(folder.name)), folder

    def pinned(self) -> set[BlobHash]:
        """Every blob that at least one round holds."""
        return {found for _, folder in self.list_pins() for found in _list_hashes(folder)}


def parse_hash(text: str) -> BlobHash | None:
    """The hash that a name spells; None for any other name."""
    if len(text) != 2 * DIGEST_BYTES or text != text.lower():
        return None
    try:
        return BlobHash(bytes.fromhex(text))
    except ValueError:
        return None


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold a file's lock against every other process and thread; freed even by kill -9."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise storage_error("cannot lock", path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        unlock(descriptor)


def lock_folder(path: Path, *, wait: bool) -> int | None:
    """The locked descriptor of a folder, made if need be; None if another has it and not `wait`.

    The folder may be removed by its last owner while we wait for the lock. Then we hold the lock of
    something that no longer has a name, and begin again.
    """
    while True:
        path.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        if not _take_lock(descriptor, wait):
            return None
        if _is_same_folder(descriptor, path):
            return descriptor
        unlock(descriptor)


def is_locked(path: Path) -> bool:
    """Whether some process is at work in a folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    if not _take_lock(descriptor, wait=False):
        return True
    unlock(descriptor)
    return False


def unlock(descriptor: int) -> None:
    """Free a lock and close its descriptor.

    Closing alone would not free it while a child forked meanwhile has the descriptor too.
    """
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _take_lock(descriptor: int, wait: bool) -> bool:
    """Lock an open file or folder, or close it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def _is_same_folder(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _list_with_status(folder: Path) -> Iterator[tuple[BlobHash, os.stat_result]]:
    for blob_hash in _list_hashes(folder):
        status = _read_status(f"{folder}/{blob_hash.hex()}")
        if status is not None:
            yield blob_hash, status


def _read_status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None  # another process was faster


def _list_hashes(folder: Path) -> list[BlobHash]:
    """The hashes that are names in a folder; plain strings, for stores of many thousands."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return []
    return [blob_hash for blob_hash in map(parse_hash, names) if blob_hash is not None]


def _file_name(blob_hash: BlobHash) -> str:
    if len(blob_hash) != DIGEST_BYTES:
        raise ValueError(f"a blob hash has {DIGEST_BYTES} bytes, this has {len(blob_hash)}")
    return blob_hash.hex()
