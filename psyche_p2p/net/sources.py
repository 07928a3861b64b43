"""What is remembered of those we fetch from: how fast they are, when to try again, who lied.

Pure; one book serves every download of a peer, so that what one learned spares the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from psyche_p2p.ids import PeerId

_SMOOTHING = 0.2  # weight of the newest measurement
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0
MAX_REMEMBERED = 4096


@dataclass(slots=True)
class Record:
    """One source's past."""

    bytes_per_s: float | None = None
    failures: int = 0
    retry_at: float = 0.0
    last_problem: str = ""


@dataclass(slots=True)
class SourceBook:
    """Every source's past."""

    records: dict[PeerId, Record] = field(default_factory=dict)
    liars: dict[PeerId, str] = field(default_factory=dict)
    on_lie: Callable[[PeerId, str], None] = lambda _peer, _problem: None
    """Called once for everyone who is found to lie."""

    def of(self, peer: PeerId) -> Record:
        record = self.records.pop(peer, None) or Record()
        self.records[peer] = record
        if len(self.records) > MAX_REMEMBERED:
            del self.records[next(iter(self.records))]
        return record

    def is_usable(self, peer: PeerId, now: float) -> bool:
        """Whether to ask this peer for anything now."""
        return peer not in self.liars and self.of(peer).retry_at <= now

    def note_speed(self, peer: PeerId, size_bytes: int, seconds: float) -> None:
        """A chunk arrived so long after the one before, or after it was asked for."""
        record, measured_s = self.of(peer), max(seconds, 1e-9) / size_bytes
        known_s = measured_s if record.bytes_per_s is None else 1 / record.bytes_per_s
        # Times are averaged and not speeds: of two chunks that came at once, after a wait for
        # both, the second would seem to have come infinitely fast.
        record.bytes_per_s = 1 / (known_s + _SMOOTHING * (measured_s - known_s))
        record.failures = 0

    def note_failure(self, peer: PeerId, problem: str, now: float) -> None:
        """It broke off, stalled or refused: leave it alone, longer every time."""
        record = self.of(peer)
        wait_s = min(_FIRST_RETRY_S * 2.0**record.failures, _LONGEST_RETRY_S)
        record.failures += 1
        record.retry_at = now + wait_s
        record.last_problem = problem

    def note_lie(self, peer: PeerId, problem: str) -> None:
        """It sent bytes that are not what their hash says: never ask it again."""
        if peer not in self.liars:
            self.on_lie(peer, problem)
        self.liars[peer] = problem
        if len(self.liars) > MAX_REMEMBERED:
            del self.liars[next(iter(self.liars))]

    def forgive(self, peer: PeerId) -> None:
        """Its failures mean nothing any more: it is reached another way now."""
        record = self.of(peer)
        record.failures, record.retry_at, record.bytes_per_s = 0, 0.0, None

    def explain(self, peer: PeerId) -> str:
        """Why this peer is not being asked."""
        return self.liars.get(peer) or self.of(peer).last_problem or "it has nothing we need"
