"""The tree of tasks: the first failure ends everything and is what is raised.

And what comes before it: finished, or ended half-done when the peer is told to stop.
"""

from __future__ import annotations

import asyncio

import pytest

from psyche_p2p.errors import StorageError
from psyche_p2p.node.supervision import TaskTree, finish_unless


async def _for_ever(ended: list[str], name: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)


async def _fail() -> None:
    raise StorageError("the disk is gone")


def test_a_failure_is_raised_and_the_others_end() -> None:
    ended: list[str] = []

    async def scenario() -> None:
        async with TaskTree() as tree:
            tree.start("a", _for_ever(ended, "a"))
            tree.start("b", _for_ever(ended, "b"))
            await asyncio.sleep(0)
            tree.start("c", _fail())
            await tree.wait(asyncio.Event())

    with pytest.raises(StorageError, match="the disk is gone"):
        asyncio.run(scenario())
    assert sorted(ended) == ["a", "b"]


def test_what_a_timer_reports_ends_the_tree_too() -> None:
    async def scenario() -> None:
        async with TaskTree() as tree:
            asyncio.get_running_loop().call_soon(tree.fail, StorageError("late"))
            await tree.wait(asyncio.Event())

    with pytest.raises(StorageError, match="late"):
        asyncio.run(scenario())


def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # what `wait_for` does when both happen at once
            await asyncio.Event().wait()

    async def scenario() -> None:
        async with TaskTree() as tree:
            task = tree.start("stubborn", stubborn())
            await asyncio.sleep(0)
        assert task.cancelled()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_the_event_ends_the_wait_and_tasks_may_end_by_themselves() -> None:
    ended: list[str] = []

    async def scenario() -> None:
        done = asyncio.Event()
        async with TaskTree() as tree:
            tree.start("a", _for_ever(ended, "a"))

            async def finish() -> None:
                done.set()

            tree.start("b", finish())
            await tree.wait(done)

    asyncio.run(scenario())
    assert ended == ["a"]


def test_work_that_is_done_in_time_is_finished() -> None:
    async def scenario() -> bool:
        return await finish_unless(asyncio.Event(), asyncio.sleep(0))

    assert asyncio.run(scenario())


def test_work_is_ended_when_the_event_is_set() -> None:
    ended: list[str] = []

    async def scenario() -> bool:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_soon(stop.set)
        return await finish_unless(stop, _for_ever(ended, "work"))

    assert not asyncio.run(scenario())
    assert ended == ["work"]


def test_work_that_fails_raises_what_it_raised() -> None:
    with pytest.raises(StorageError, match="the disk is gone"):
        asyncio.run(finish_unless(asyncio.Event(), _fail()))


def test_whoever_waits_for_work_and_is_cancelled_ends_it() -> None:
    ended: list[str] = []

    async def scenario() -> None:
        waiting = asyncio.create_task(finish_unless(asyncio.Event(), _for_ever(ended, "work")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())
    assert ended == ["work"]
