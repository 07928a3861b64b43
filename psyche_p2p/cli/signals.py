"""Ends a command that runs until it is told to stop, so that everything is shut down in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


async def until_told_to_stop(work: Coroutine[Any, Any, None]) -> None:
    """Do some work until it ends, or until SIGINT (Ctrl-C) or SIGTERM cancels it."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    is_told = False

    def stop() -> None:
        nonlocal is_told
        is_told = True
        task.cancel()

    for number in _NUMBERS:
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not is_told:
            raise
    finally:
        for number in _NUMBERS:
            loop.remove_signal_handler(number)


async def until_stopped_twice(begin: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Do some work that ends in order when its event is set: by the first SIGINT or SIGTERM.

    The second one cancels it, whatever it is at.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    task = asyncio.ensure_future(begin(stop))

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for number in _NUMBERS:
        loop.add_signal_handler(number, on_signal)
    try:
        await task
    finally:
        for number in _NUMBERS:
            loop.remove_signal_handler(number)
