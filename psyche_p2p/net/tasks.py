"""Background tasks that end only when cancelled: anything else is a bug and must be seen."""

from __future__ import annotations

import asyncio

from psyche_p2p.log import get_logger

_log = get_logger(__name__)


def report_bug(task: asyncio.Task[None]) -> None:
    """For `add_done_callback`: say which task has ended, and why."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a background task has ended", task=task.get_name(), bug=repr(error))
