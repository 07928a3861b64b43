"""What one peer's events add up to, over all the processes it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from psyche_p2p.ids import PeerId
from psyche_p2p.observe.events import (
    Applied,
    Event,
    Finished,
    PhaseEntered,
    Recorded,
    RootAgreed,
    RoundClosed,
    RunFound,
    Started,
    Traffic,
    Trained,
)

TRAIN = "TRAIN"


@dataclass(slots=True)
class Tally:
    """A peer as its own events describe it."""

    peer: PeerId
    tier: int
    role: Literal["trainer", "witness"]
    addresses: tuple[str, ...] = ()
    """Of the process that runs now; empty until it listens."""
    has_started: bool = False
    run_id: str = ""
    phase: str = ""
    has_trained: bool = False
    """Whether it has ever seen the run train."""
    is_in_step: bool = False
    """Whether the process that runs now has seen a round close that no earlier one had."""
    accepted: dict[int, tuple[PeerId, ...]] = field(default_factory=dict)
    """By closed round: whose contributions it has."""
    last_round: int | None = None
    param_round: int | None = None
    losses: dict[int, float] = field(default_factory=dict)
    tokens_per_s: float = 0.0
    training_s: float = 0.0
    train_phase_ms: int = 0
    roots: dict[int, tuple[str, ...]] = field(default_factory=dict)
    contradicted: set[int] = field(default_factory=set)
    """After which rounds it had other parameters than it had said before it was restarted."""
    agreed_roots: dict[int, tuple[str, ...]] = field(default_factory=dict)
    finished_at: int | None = None
    noted: list[Event] = field(default_factory=list)
    """The rare events, for the summary: members, accusations, restarts, and the like."""
    _earlier_bytes: tuple[int, int] = (0, 0)
    _current_bytes: tuple[int, int] = (0, 0)
    _counted_until_ms: int | None = None
    """While the run trains: up to where `train_phase_ms` has counted."""

    @property
    def sent_bytes(self) -> int:
        return self._earlier_bytes[0] + self._current_bytes[0]

    @property
    def received_bytes(self) -> int:
        return self._earlier_bytes[1] + self._current_bytes[1]

    @property
    def training_share(self) -> float | None:
        """How much of the TRAIN phase its trainer trained; None without such a phase."""
        return self.training_s * 1000 / self.train_phase_ms if self.train_phase_ms else None

    def on_launch(self) -> None:
        """A new process begins: what is true only of a process is forgotten."""
        self.addresses, self.is_in_step, self.phase = (), False, ""
        self._counted_until_ms = None
        sent, received = self._current_bytes
        self._earlier_bytes = (self._earlier_bytes[0] + sent, self._earlier_bytes[1] + received)
        self._current_bytes = (0, 0)

    def on_event(self, recorded: Recorded) -> None:
        """Add what a line says."""
        self._count_train_phase(recorded.time_ms)
        match recorded.event:
            case Started(addresses=addresses):
                self.addresses, self.has_started = addresses, True
            case RunFound(run_id=run_id):
                self.run_id = run_id
            case PhaseEntered(phase=phase):
                self._on_phase(phase.upper(), recorded.time_ms)
            case RoundClosed(round=number, trainers=trainers):
                self._on_round_closed(number, trainers)
            case Trained() as trained:
                self._on_trained(trained)
            case Applied(param_round=number, roots=roots):
                self._on_applied(number, roots)
            case RootAgreed(param_round=number, roots=roots):
                self.agreed_roots[number] = roots
            case Traffic(sent_bytes=sent, received_bytes=received):
                self._current_bytes = (sent, received)
            case Finished(param_round=number):
                self.finished_at = number
            case other:
                self.noted.append(other)

    def _on_phase(self, phase: str, time_ms: int) -> None:
        self.phase = phase
        self.has_trained = self.has_trained or phase == TRAIN
        self._counted_until_ms = time_ms if phase == TRAIN else None

    def _on_round_closed(self, number: int, trainers: tuple[PeerId, ...]) -> None:
        self.accepted[number] = trainers
        if self.last_round is None or number > self.last_round:  # not a log that is read again
            self.last_round, self.is_in_step = number, True

    def _on_applied(self, number: int, roots: tuple[str, ...]) -> None:
        if self.roots.get(number, roots) != roots:
            self.contradicted.add(number)
        self.roots[number], self.param_round = roots, number

    def _on_trained(self, event: Trained) -> None:
        self.losses[event.round] = event.loss
        self.training_s += event.seconds
        self.tokens_per_s = event.tokens / event.seconds if event.seconds > 0 else 0.0

    def _count_train_phase(self, time_ms: int) -> None:
        if self._counted_until_ms is not None:
            self.train_phase_ms += max(0, time_ms - self._counted_until_ms)
            self._counted_until_ms = max(self._counted_until_ms, time_ms)
