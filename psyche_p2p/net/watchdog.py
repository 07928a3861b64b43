"""Notices that nothing moves: one timer for a whole stream, where a timeout for each message of a
mebibyte would cost more than hashing it."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from typing_extensions import Self


class Watchdog:
    """Ends the block it guards with asyncio.TimeoutError when it is not patted for `limit_s`."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._patted_at = 0.0
        self._has_bitten = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None

    def pat(self) -> None:
        """Something moved."""
        self._patted_at = asyncio.get_running_loop().time()

    def rest(self) -> None:
        """Until patted again, stillness is nobody's fault."""
        self._patted_at = math.inf

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self.pat()
        self._arm(self._limit_s)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._has_bitten and isinstance(error, asyncio.CancelledError):
            if self._task is not None and hasattr(self._task, "uncancel"):  # since Python 3.11
                self._task.uncancel()
            raise asyncio.TimeoutError(f"nothing moved for {self._limit_s:g} s") from error

    def _arm(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        left_s = self._patted_at + self._limit_s - asyncio.get_running_loop().time()
        if left_s > 0:
            self._arm(min(left_s, self._limit_s))
        elif self._task is not None:
            self._has_bitten = True
            self._task.cancel()
