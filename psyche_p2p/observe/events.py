"""What a peer reports about itself: one JSON object a line, in a file that others may follow.

    {"time_ms": 1760000000000, "event": "round_closed", "round": 3, "height": 5, ...}

Whoever watches a peer (a supervisor, a terminal view, a web page) reads this and never its log,
which is for people. A peer that cannot write its events goes on training.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from psyche_p2p.ids import PeerId


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
class ParametersArriving(Event):
    """So many chunks (of a MiB) of the parameters are here, and who gave how many of them.

    Those that were here before the download began, or went on, nobody is said to have given.
    """

    NAME: ClassVar[str] = "parameters_arriving"
    param_round: int
    chunks_here: int
    chunks_total: int
    sources: tuple[PeerId, ...]
    chunks_given: tuple[int, ...]
    """By each of `sources`."""


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
