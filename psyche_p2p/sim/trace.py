"""What happened in a simulated run, moment by moment, for the picture and for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Mark(Enum):
    """What can be seen of a run."""

    PROPOSAL = "proposal"
    PREVOTE = "prevote"
    PRECOMMIT = "precommit"
    NIL_VOTE = "vote for nothing"
    DECISION = "block decided"
    ROUND_CLOSED = "round closed"
    COMMITMENT = "commitment"
    ATTESTATION = "attestation"
    STATEMENT = "other statement"
    EVIDENCE = "evidence"
    VIOLATION = "violation"


@dataclass(frozen=True, slots=True)
class Moment:
    """One mark in one peer's lane."""

    time_ms: int
    peer: int
    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in some peers' lanes."""

    start_ms: int
    end_ms: int
    peers: tuple[int, ...]
    text: str


@dataclass(slots=True)
class Trace:
    """Collects what happens; a disabled trace collects nothing, so that large runs stay cheap."""

    is_enabled: bool = False
    moments: list[Moment] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def add(self, time_ms: int, peer: int, mark: Mark, text: str = "") -> None:
        if self.is_enabled:
            self.moments.append(Moment(time_ms, peer, mark, text))

    def add_span(self, start_ms: int, end_ms: int, peers: tuple[int, ...], text: str) -> None:
        if self.is_enabled:
            self.spans.append(Span(start_ms, end_ms, peers, text))
