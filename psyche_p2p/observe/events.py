"""What a peer reports about itself: one JSON object a line, in a file that others may follow.

    {"time_ms": 1760000000000, "event": "round_closed", "round": 3, "height": 5, ...}

Whoever watches a peer (a supervisor, a terminal view, a web page) reads this and never its log,
which is for people. A peer that cannot write its events goes on training.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from typing_extensions import Self

from psyche_p2p.clock import Clock, SystemClock
from psyche_p2p.files import storage_error
from psyche_p2p.ids import PeerId
from psyche_p2p.log import get_logger

MAX_FILE_BYTES = 64 << 20
_READ_BYTES = 1 << 16

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """What all events share: the name that stands in the line."""

    NAME: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The peer listens: where, as libp2p multiaddrs that end in its id, and where for blobs."""

    NAME: ClassVar[str] = "started"
    peer: PeerId
    tier: int
    role: Literal["trainer", "witness"]
    addresses: tuple[str, ...]
    bulk_addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunFound(Event):
    """The peer has the run's configuration, and its hash is the run's id."""

    NAME: ClassVar[str] = "run_found"
    run_id: str
    name: str


@dataclass(frozen=True, slots=True)
class PhaseEntered(Event):
    """The run's state entered a phase (WAITING_FOR_MEMBERS, WARMUP, TRAIN, ...)."""

    NAME: ClassVar[str] = "phase"
    phase: str
    epoch: int
    height: int


@dataclass(frozen=True, slots=True)
class RoundClosed(Event):
    """The run's log accepted these trainers' contributions, and does without the others'."""

    NAME: ClassVar[str] = "round_closed"
    round: int
    height: int
    accepted: int
    slots: int
    """How many contributions were asked for."""
    trainers: tuple[PeerId, ...]
    missed: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class Trained(Event):
    """This peer's trainer finished its batch of a round, in so many seconds of training."""

    NAME: ClassVar[str] = "trained"
    round: int
    batch_start: int
    batch_end: int
    loss: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Attested(Event):
    """This peer said which contributions to a round it holds and found good.

    One took so long on average to get here and so long to be checked, others' only.
    """

    NAME: ClassVar[str] = "attested"
    round: int
    held: int
    slots: int
    fetch_s: float
    check_s: float


@dataclass(frozen=True, slots=True)
class Applied(Event):
    """This peer has applied `param_round` rounds; its roots by tier, the smallest model first.

    A peer of tier 0 in a run of three tiers lists those of tiers 2, 1 and 0; one of tier 2 only
    that of tier 2: entries of two lists at one place are roots of the same tensors.
    """

    NAME: ClassVar[str] = "applied"
    param_round: int
    roots: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class RootAgreed(Event):
    """The run's log holds these roots, one a tier; zeros where nobody holds that tier."""

    NAME: ClassVar[str] = "root_agreed"
    param_round: int
    roots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluated(Event):
    """The held-out loss of the parameters, as the model of one tier."""

    NAME: ClassVar[str] = "evaluated"
    param_round: int
    tier: int
    loss: float


@dataclass(frozen=True, slots=True)
class MemberChanged(Event):
    """A member came or went, as the run's log has it."""

    NAME: ClassVar[str] = "member"
    peer: PeerId
    what: Literal["admitted", "dropped", "ejected", "withdrew"]
    reason: str


@dataclass(frozen=True, slots=True)
class Accused(Event):
    """This peer found another doing something wrong."""

    NAME: ClassVar[str] = "accused"
    peer: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class Restarted(Event):
    """A part of this peer, or all of it, began again."""

    NAME: ClassVar[str] = "restarted"
    what: Literal["trainer", "daemon", "node"]
    reason: str


@dataclass(frozen=True, slots=True)
class Resynced(Event):
    """This peer took its parameters from others and checked them against the run's log."""

    NAME: ClassVar[str] = "resynced"
    param_round: int
    seconds: float
    bytes: int
    sources: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class Diverged(Event):
    """This peer's parameters are not those the quorum has."""

    NAME: ClassVar[str] = "diverged"
    param_round: int
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Traffic(Event):
    """What went over this peer's network since its process started."""

    NAME: ClassVar[str] = "traffic"
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True)
class CheckpointWritten(Event):
    """The parameters after so many rounds are in a folder, and the log vouches for them."""

    NAME: ClassVar[str] = "checkpoint_written"
    param_round: int
    folder: str


@dataclass(frozen=True, slots=True)
class CheckpointUploaded(Event):
    """The checkpoint is on a hub as well; `commit` names it there."""

    NAME: ClassVar[str] = "checkpoint_uploaded"
    param_round: int
    commit: str


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """The run is over, and this peer holds its last parameters."""

    NAME: ClassVar[str] = "finished"
    param_round: int


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """The last line of a process that ended in order."""

    NAME: ClassVar[str] = "stopped"
    reason: str
    exit_code: int


EVENTS: dict[str, type[Event]] = {kind.NAME: kind for kind in Event.__subclasses__()}


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event and when it was written."""

    time_ms: int
    event: Event


def encode_event(time_ms: int, event: Event) -> bytes:
    """The line of an event, its end included. JSON knows no infinities: they become null."""
    values: dict[str, Any] = {"time_ms": time_ms, "event": event.NAME}
    for name, value in asdict(event).items():
        is_odd = isinstance(value, float) and not math.isfinite(value)
        values[name] = None if is_odd else value
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decode_event(line: bytes) -> Recorded:
    """The event in a line; ValueError for a line, an event or a field that is not known."""
    values = json.loads(line)
    name = values.get("event") if isinstance(values, dict) else None
    if not isinstance(name, str) or name not in EVENTS:
        raise ValueError("not a line of an event")
    time_ms = _decode_field(int, values.get("time_ms"))
    found = {key: _decode_field(hint, values.get(key)) for key, hint in _fields_of(name)}
    return Recorded(time_ms, EVENTS[name](**found))


@cache
def _fields_of(name: str) -> tuple[tuple[str, Any], ...]:
    kind = EVENTS[name]
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


def _decode_field(hint: Any, value: Any) -> Any:
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_decode_field(get_args(hint)[0], item) for item in value)
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if hint is float and (value is None or type(value) in (int, float)):
        return math.nan if value is None else float(value)
    if hint is int and type(value) is int:
        return value
    if hint in (str, PeerId) and isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is not a {hint}")


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
                log.warning("events are being lost", reason=reason)

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
