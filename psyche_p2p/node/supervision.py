"""One tree of tasks: they live together, and the first that fails ends them all.

What comes before a tree, one step after the other, is ended by `finish_unless`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from typing_extensions import Self

from psyche_p2p.net.tasks import end_tasks


class TaskTree:
    """Tasks that end only when they are done for good; entered, and awaited with `wait`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._failed = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        while self._tasks:  # one that ends may yet start another
            await end_tasks(tuple(self._tasks))
            await asyncio.sleep(0)  # so that those that ended are taken off
        if self._failed is not None and self._failed.done() and not self._failed.cancelled():
            self._failed.exception()  # seen: whoever waited for it has it

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task; its failure is the tree's."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def fail(self, error: BaseException) -> None:
        """End everything with this error, unless another was first."""
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def wait(self, done: asyncio.Event) -> None:
        """Until the event is set, or a task fails: then raise what it raised."""
        assert self._failed is not None, "used outside its context"
        waiting = asyncio.create_task(done.wait())
        either: set[asyncio.Future[Any]] = {waiting, self._failed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._failed.done():
            self._failed.result()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)


async def forward(first: asyncio.Event, then: asyncio.Event) -> None:
    """Set one event once another is."""
    await first.wait()
    then.set()


async def finish_unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was finished before the event was set, which ends it half-done."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks((working, stopping))
    if working.cancelled():
        return False
    working.result()
    return True
