"""Several servers with the same files: whoever gives a wrong answer is followed by the next.

A server that lies about a file is not asked for that file again; one that does not answer is, later
and after the others. Among those that work, the fastest is asked first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from psyche_p2p.data.web import ANSWER_S, Mirror, MirrorFailed
from psyche_p2p.errors import DataError, PsycheError, Unavailable
from psyche_p2p.log import get_logger

_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
_PATIENCE_S = 60.0  # no new try for the same bytes after this: the round would be over
_NEWEST_WEIGHT = 0.2
_log = get_logger(__name__)

Ask = Callable[[Mirror], bytes]
Check = Callable[[bytes], str]
"""What is wrong with an answer; empty if it is the right one."""


@dataclass
class _Standing:
    """What is known of a mirror."""

    mirror: Mirror
    failures: int = 0
    """Since its last good answer."""
    seconds: float = 0.0
    """For an answer, lately; 0 before the first."""
    refused: dict[str, str] = field(default_factory=dict)
    """Files it lied about, and how."""


class Mirrors:
    """Asks one mirror after the other, round after round, until one has the right answer."""

    def __init__(
        self,
        addresses: Sequence[str],
        answer_s: float = ANSWER_S,
        pause: Callable[[float], None] = time.sleep,
        first: int = 0,
    ) -> None:
        turned = [addresses[(first + i) % len(addresses)] for i in range(len(addresses))]
        self._standings = [_Standing(Mirror(address, answer_s)) for address in turned]
        self._pause = pause
        self._lock = threading.Lock()

    def get_range(self, name: str, start: int, size: int, file_bytes: int, check: Check) -> bytes:
        """A part of a file, whoever has it."""
        what = f"{name} at byte {start}"
        return self._get(
            name, what, lambda mirror: mirror.get_range(name, start, size, file_bytes), check
        )

    def get_file(self, name: str, max_bytes: int, check: Check) -> bytes:
        """A whole file, whoever has it."""
        return self._get(name, name, lambda mirror: mirror.get_file(name, max_bytes), check)

    def close(self) -> None:
        for standing in self._standings:
            standing.mirror.close()

    def _get(self, name: str, what: str, ask: Ask, check: Check) -> bytes:
        reasons: dict[str, str] = {}
        give_up_s = time.monotonic() + _PATIENCE_S
        for pause_s in _PAUSES_S:
            if pause_s:
                self._pause(pause_s)
            for standing in self._candidates(name):
                data, failure = self._try(standing, ask, check)
                if failure is None:
                    return data
                reasons[standing.mirror.address] = failure.reason
                self._note_failure(standing, name, what, failure)
            if not self._candidates(name) or time.monotonic() > give_up_s:
                break
        raise self._nobody(name, what, reasons)

    def _try(
        self, standing: _Standing, ask: Ask, check: Check
    ) -> tuple[bytes, MirrorFailed | None]:
        began_s = time.monotonic()
        try:
            data = ask(standing.mirror)
        except MirrorFailed as failure:
            return b"", failure
        problem = check(data)
        if problem:
            return b"", MirrorFailed(problem, is_lasting=True)
        took_s = time.monotonic() - began_s
        with self._lock:
            before_s = standing.seconds or took_s
            standing.seconds = before_s + _NEWEST_WEIGHT * (took_s - before_s)
            standing.failures = 0
        return data, None

    def _candidates(self, name: str) -> list[_Standing]:
        """Those that did not lie about this file, the most promising first."""
        with self._lock:
            honest = (one for one in self._standings if name not in one.refused)
            return sorted(honest, key=lambda one: (one.failures, one.seconds))

    def _note_failure(
        self, standing: _Standing, name: str, what: str, failure: MirrorFailed
    ) -> None:
        with self._lock:
            standing.failures += 1
            if failure.is_lasting:
                standing.refused[name] = failure.reason
        _log.warning(
            "mirror failed", mirror=standing.mirror.address, file=what, reason=failure.reason
        )

    def _nobody(self, name: str, what: str, reasons: dict[str, str]) -> PsycheError:
        all_refused = all(name in one.refused for one in self._standings)
        for one in self._standings:
            reasons.setdefault(one.mirror.address, one.refused.get(name, ""))
        listed = "; ".join(f"{address}: {reason}" for address, reason in reasons.items())
        cause = f"no mirror gives {what} ({listed})"
        if all_refused:
            return DataError(cause, "ask whoever made the run for the right files and mirrors")
        return Unavailable(cause, "check the network, and whether the mirrors are there")
