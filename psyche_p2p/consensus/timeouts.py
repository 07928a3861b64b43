"""How long a view waits, and what it waits for; later views wait longer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from psyche_p2p.ids import View


class TimerKind(Enum):
    """What a deadline of the core is for."""

    PROPOSE = "propose"
    """Without a proposal by then: prevote for nothing."""
    PREVOTE = "prevote"
    """Prevotes do not agree by then: precommit nothing."""
    PRECOMMIT = "precommit"
    """No decision by then: the next view."""
    RESEND = "resend"
    """Still nothing: say again what was said, in case it was lost."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Milliseconds; every step of view v waits `base + v * growth`, at most `maximum`.

    For progress a view must outlast a few message delays (docs/protocol.md, "Bounds"); growth finds
    that length when the base was set too low.
    """

    propose_ms: int = 1000
    vote_ms: int = 500
    growth_ms: int = 250
    maximum_ms: int = 60_000
    resend_ms: int = 1000

    def duration_ms(self, kind: TimerKind, view: View) -> int:
        """How long to wait in this view for this step."""
        if kind is TimerKind.RESEND:
            return self.resend_ms
        base_ms = self.propose_ms if kind is TimerKind.PROPOSE else self.vote_ms
        return min(base_ms + view * self.growth_ms, self.maximum_ms)
