"""The two processes of a contender, and how the benchmark talks to them.

A contender is a module with two coroutines: `serve(folder, blob)`, a context manager that gives an
address any process can use, and `connect(folder, address)`, one that gives a function that fetches
the blob once. Each runs in its own process, because some of the libraries cannot share one.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

Fetch = Callable[[], Any]
Serve = Callable[[Path, bytes], AbstractAsyncContextManager[Any]]
Connect = Callable[[Path, Any], AbstractAsyncContextManager[Fetch]]

_START_S = 120.0
_FETCH_S = 300.0
_STOP_S = 10.0


class ContenderError(Exception):
    """A contender that cannot run here, with its own words."""


class Contender:
    """One contender's server and client; `fetch_s` times one transfer."""

    def __init__(self, module: str, folder: Path, blob: bytes) -> None:
        self._module = module
        self._folder = folder
        self._blob = blob
        self._ends: list[_End] = []

    def __enter__(self) -> Self:
        server = _End(_serve, self._module, self._folder, self._blob)
        self._ends.append(server)
        address = server.receive(_START_S)
        client = _End(_connect, self._module, self._folder, address)
        self._ends.append(client)
        client.receive(_START_S)
        return self

    def fetch_s(self) -> float:
        """Seconds that one fetch of the whole blob takes, by the client's clock."""
        self._ends[1].pipe.send("fetch")
        return float(self._ends[1].receive(_FETCH_S))

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for end in reversed(self._ends):
            end.stop()


class _End:
    """A process and the pipe to it."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=target, args=(other, *arguments), daemon=False)
        self._process.start()
        other.close()

    def receive(self, timeout_s: float) -> Any:
        """The next answer; ContenderError if there is none in time, or it is an error."""
        try:
            answered = self.pipe.poll(timeout_s)
            kind, value = self.pipe.recv() if answered else ("error", "no answer in time")
        except EOFError:
            kind, value = "error", "its process ended"
        if kind == "error":
            raise ContenderError(value)
        return value

    def stop(self) -> None:
        self.pipe.close()  # the process ends when it reads the end of the pipe
        self._process.join(_STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, module: str, folder: Path, blob: bytes) -> None:
    async def run() -> None:
        serve: Serve = importlib.import_module(module).serve
        async with serve(folder, blob) as address:
            pipe.send(("ready", address))
            await asyncio.to_thread(_wait_for_end, pipe)

    _run(pipe, run)


def _connect(pipe: Connection, module: str, folder: Path, address: Any) -> None:
    async def run() -> None:
        connect: Connect = importlib.import_module(module).connect
        async with connect(folder, address) as fetch:
            pipe.send(("ready", None))
            while await asyncio.to_thread(_wait_for_order, pipe):
                began = time.perf_counter()
                size_check = await fetch()
                pipe.send(("time", time.perf_counter() - began))
                if size_check is not None:
                    await size_check()

    _run(pipe, run)


def _run(pipe: Connection, run: Callable[[], Any]) -> None:
    try:
        asyncio.run(run())
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        pipe.send(("error", f"{type(error).__name__}: {error}"))


def _wait_for_end(pipe: Connection) -> None:
    while _wait_for_order(pipe):
        pass


def _wait_for_order(pipe: Connection) -> bool:
    try:
        pipe.recv()
    except (EOFError, OSError):
        return False
    return True
