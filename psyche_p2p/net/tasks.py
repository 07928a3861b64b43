"""Background tasks that end only when cancelled: anything else is a bug and must be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from psyche_p2p.log import get_logger

_CANCEL_AGAIN_S = 0.2
_log = get_logger(__name__)


def report_bug(task: asyncio.Task[None]) -> None:
    """For `add_done_callback`: say which task has ended, and why."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a background task has ended", task=task.get_name(), bug=repr(error))


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended: before Python 3.12 `wait_for` may swallow a cancellation.

    A task that goes on after that would otherwise be awaited for ever.
    """
    while alive := [task for task in tasks if not task.done()]:
        for task in alive:
            task.cancel()
        await asyncio.wait(alive, timeout=_CANCEL_AGAIN_S)
