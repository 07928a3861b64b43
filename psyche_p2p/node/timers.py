"""Calls that come later, in the milliseconds that agreement counts in; all end with the peer.

A call that fails must not vanish into the loop's own log: it is handed to whoever supervises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from psyche_p2p.clock import Clock


class Timers:
    """Made inside the loop; `now_ms` is monotonic, `offset_ms` leads to the wall clock."""

    def __init__(self, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._handles: set[asyncio.TimerHandle] = set()
        self.offset_ms = clock.time_ms() - self.now_ms
        self.on_failure: Callable[[Exception], None] = _raise

    @property
    def now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    def after(self, delay_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        """Call once, after a delay."""
        self.at(self.now_ms + max(0, delay_ms), call, *arguments)

    def at(self, time_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        """Call once, at a time or as soon after it as may be."""

        def fire() -> None:
            self._handles.discard(handle)
            try:
                call(*arguments)
            except Exception as error:  # noqa: BLE001 - of whichever kind, it ends the peer
                self.on_failure(error)

        # a little later than asked: agreement compares whole milliseconds
        handle = self._loop.call_at(time_ms / 1000 + 0.001, fire)
        self._handles.add(handle)

    def cancel_all(self) -> None:
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()


def _raise(error: Exception) -> None:
    raise error
