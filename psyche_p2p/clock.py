"""The clock that pure cores never own: they are handed `now`, only their drivers read it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a driver reads the time."""

    def time_ms(self) -> int:
        """Milliseconds since the Unix epoch, for what other machines will see."""

    def monotonic_s(self) -> float:
        """Seconds that never run backwards, for deadlines on this machine."""


class SystemClock:
    """The machine's own clock."""

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to, for tests and simulation."""

    def __init__(self, start_ms: int = 0) -> None:
        self._elapsed_ms = 0
        self._start_ms = start_ms

    def time_ms(self) -> int:
        return self._start_ms + self._elapsed_ms

    def monotonic_s(self) -> float:
        return self._elapsed_ms / 1000

    def advance_ms(self, by_ms: int) -> None:
        if by_ms < 0:
            raise ValueError(f"time cannot run backwards (by_ms={by_ms})")
        self._elapsed_ms += by_ms
