"""The file of a peer's events: written a line at a time, followed by whoever watches."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from psyche_p2p.clock import Clock, SystemClock
from psyche_p2p.files import storage_error
from psyche_p2p.log import get_logger
from psyche_p2p.observe.events import Event, Recorded, decode_event, encode_event

MAX_FILE_BYTES = 64 << 20
_READ_BYTES = 1 << 16
_log = get_logger(__name__)


class EventLog:
    """Appends events to a file, each flushed at once; at `max_bytes` it becomes `<name>.1`.

    Only opening raises. A disk that is full later costs events, which are counted, and one warning;
    writing is tried again with every event. One thread only.
    """

    def __init__(self, path: Path, descriptor: int, clock: Clock, max_bytes: int) -> None:
        self.path = path
        self.lost = 0
        """How many events could not be written."""
        self._descriptor = descriptor
        self._clock = clock
        self._max_bytes = max_bytes
        self._size_bytes = os.fstat(descriptor).st_size
        self._is_torn = self._size_bytes > 0  # perhaps by a process that was killed

    @classmethod
    def open(
        cls, path: Path, clock: Clock | None = None, *, max_bytes: int = MAX_FILE_BYTES
    ) -> Self:
        """Open for appending, made if need be; a StorageError if that cannot be."""
        try:
            descriptor = _open_to_append(path)
        except (OSError, ValueError) as error:
            raise storage_error("cannot write events to", path, error) from error
        return cls(path, descriptor, clock or SystemClock(), max_bytes)

    def write(self, event: Event) -> None:
        """Append an event; a failure is counted and never raised."""
        line = encode_event(self._clock.time_ms(), event)
        try:
            self._append(line)
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                reason = str(storage_error("cannot write events to", self.path, error))
                _log.warning("events are being lost", reason=reason)

    def close(self) -> None:
        """Close the file; what is written later is lost."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        if self._size_bytes and self._size_bytes + len(line) > self._max_bytes:
            self._rotate()
        data = b"\n" + line if self._is_torn else line  # readers skip the half line and the empty
        written = os.write(self._descriptor, data)
        self._size_bytes += written
        self._is_torn = written < len(data)
        if self._is_torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # what half a line means

    def _rotate(self) -> None:
        with suppress(FileNotFoundError):  # an earlier try came this far
            self.path.replace(_older(self.path))
        descriptor = _open_to_append(self.path)
        os.close(self._descriptor)
        self._descriptor, self._size_bytes, self._is_torn = descriptor, 0, False


class EventTail:
    """Reads what was appended since the last time, through a rotation and past broken lines.

    A line whose end has not been written yet waits for the next time. Two rotations between two
    reads lose what was in the file between them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._rest = b""

    def read(self) -> list[Recorded]:
        """All new events, oldest first; nothing while there is no file."""
        found = list(self._read_open_file())
        if self._is_another_file():
            found += self._read_open_file()  # what came between the read and the rotation
            self.close()
            with suppress(FileNotFoundError):
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            found += self._read_open_file()
        return found

    def close(self) -> None:
        """Forget the place; the next read starts at the file's beginning."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._rest = -1, b""

    def _is_another_file(self) -> bool:
        if self._descriptor < 0:
            return True
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _read_open_file(self) -> Iterator[Recorded]:
        while self._descriptor >= 0 and (data := os.read(self._descriptor, _READ_BYTES)):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                with suppress(ValueError, RecursionError):  # half a line, or of another version
                    yield decode_event(line)


def read_events(path: Path) -> list[Recorded]:
    """Everything that a peer's file still holds, oldest first."""
    found = []
    for part in (_older(path), path):
        tail = EventTail(part)
        try:
            found += tail.read()
        finally:
            tail.close()
    return found


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _open_to_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
