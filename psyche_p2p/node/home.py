"""A peer's folder on this machine: its key, its certificate's span, and a folder for each run.

peer.key          the identity (made at the first start)
certificate       the span of its TLS certificate, which with the key makes the same one again
lock              held while a peer runs here, and says which process that is
runs/<run id>/    log, wal, promises, store/, checkpoints/
bookmarks/        how far `run status` has checked the logs of runs
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psyche_p2p.certificate import TlsCertificate, make_certificate
from psyche_p2p.clock import Clock
from psyche_p2p.errors import ResourceError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.identity import Identity
from psyche_p2p.ids import RunId
from psyche_p2p.keyfile import load_key, save_key

DEFAULT_HOME = Path("~/.psyche-p2p")
_DAY_S = 86400
_PID_BYTES = 32
_VALID_DAYS = 365
_RENEW_BEFORE_DAYS = 30


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What a peer keeps of one run."""

    root: Path

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def wal(self) -> Path:
        return self.root / "wal"

    @property
    def promises(self) -> Path:
        return self.root / "promises"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"


class Home:
    """A peer's folder, in use by at most one process."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; ResourceError if another peer runs in it."""
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error("cannot use", self._root, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise ResourceError(
                f"another peer is running in {str(self._root)!r}", "stop it, or use another --home"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def runner(self) -> int | None:
        """The process of the peer that runs here; None if none does.

        The lock is what counts: what a file says of a process that is gone means nothing.
        """
        try:
            descriptor = os.open(self._root / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("cannot use", self._root, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(os.pread(descriptor, _PID_BYTES, 0))
        finally:
            os.close(descriptor)
        return None

    def identity(self) -> Identity:
        """The peer's key; a new one at the first start."""
        path = self._root / "peer.key"
        if not path.exists():
            save_key(Identity.generate(), path)
        return load_key(path)

    def certificate(self, identity: Identity, clock: Clock) -> TlsCertificate:
        """The same certificate after a restart, until it has to be renewed."""
        path, today = self._root / "certificate", clock.time_ms() // 1000 // _DAY_S
        first_day = _read_day(path)
        if first_day is None or not first_day <= today < first_day + (
            _VALID_DAYS - _RENEW_BEFORE_DAYS
        ):
            first_day = today - 1  # clocks differ
            write_atomically(path, f"{first_day}\n".encode())
        begins_s = first_day * _DAY_S
        return make_certificate(identity, begins_s, begins_s + _VALID_DAYS * _DAY_S)

    def run_folder(self, run_id: RunId) -> RunFolder:
        """The folder of a run, made if need be."""
        root = self._root / "runs" / run_id.hex()[:16]
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise storage_error("cannot create", root, error) from error
        return RunFolder(root)

    def known_runs(self) -> list[RunFolder]:
        """The runs that this peer has a log of."""
        folder = self._root / "runs"
        roots = sorted(folder.iterdir()) if folder.is_dir() else []
        return [RunFolder(root) for root in roots if (root / "log").exists()]

    @property
    def bookmarks(self) -> Path:
        """Where visitors keep how far they have checked the logs of runs."""
        return self._root / "bookmarks"

    def knows(self, run_id: RunId) -> bool:
        """Whether there is a log of this run here."""
        return any(one.root.name == run_id.hex()[:16] for one in self.known_runs())


def _read_pid(text: bytes) -> int | None:
    digits = text.strip()
    return int(digits) if digits.isdigit() else None


def _read_day(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # missing or damaged: a new certificate costs a new join, nothing more
