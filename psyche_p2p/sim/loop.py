"""Virtual time: events happen in the order of their times, and nothing waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class EventLoop:
    """A queue of calls to make at given milliseconds; equal times keep the order of entry."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.event_count = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._entered = 0
        self._is_stopped = False

    def call_at(self, time_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        """Make this call at that time, or next if the time has passed."""
        self._entered += 1
        due = max(time_ms, self.now_ms)
        heapq.heappush(self._queue, (due, self._entered, call, arguments))

    def stop(self) -> None:
        """Make no call after the current one."""
        self._is_stopped = True

    def run(self, until_ms: int) -> None:
        """Make every call up to a time, or until stopped."""
        queue = self._queue
        while queue and queue[0][0] <= until_ms and not self._is_stopped:
            self.now_ms, _, call, arguments = heapq.heappop(queue)
            self.event_count += 1
            call(*arguments)
        if not self._is_stopped:
            self.now_ms = max(self.now_ms, until_ms)
