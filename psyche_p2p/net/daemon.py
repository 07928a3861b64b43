"""Runs go-libp2p's daemon (`p2pd`, from the hivemind wheel) and keeps it running.

The daemon dies with us (net/launch.py), and we notice at once when it dies without us: requests in
flight fail because their sockets close, `running()` waits for its successor, which has the same key
and the same ports, and whoever needs more than that (subscriptions, records) does it again for each
new `generation`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from psyche_p2p.errors import PsycheError, ResourceError
from psyche_p2p.ids import PeerId
from psyche_p2p.keyfile import encode_key
from psyche_p2p.log import get_logger
from psyche_p2p.net.control import ControlSocket, daemon_gone
from psyche_p2p.net.listen import reserve_ports
from psyche_p2p.net.multiaddr import Multiaddr
from psyche_p2p.net.p2pd import (
    CONTROL_SOCKET,
    EVERY_ADDRESS,
    KEY_FILE,
    DaemonConfig,
    daemon_command,
    make_private_folder,
    write_private,
)
from psyche_p2p.net.tasks import report_bug

__all__ = [
    "Daemon",
    "DaemonConfig",
    "EVERY_ADDRESS",
    "DaemonEvent",
    "DaemonStarted",
    "DaemonDied",
]

START_TIMEOUT_S = 30.0
TERMINATE_TIMEOUT_S = 1.0
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 30.0
STEADY_AFTER_S = 30.0
_KEPT_LINES = 50
_MAX_LINE = 4096
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DaemonStarted:
    """A daemon answers on its control socket; generation 0 is the first."""

    generation: int


@dataclass(frozen=True, slots=True)
class DaemonDied:
    """The daemon ended without being told to."""

    generation: int
    exit_code: int
    last_line: str


DaemonEvent = DaemonStarted | DaemonDied


class Daemon:
    """A supervised p2pd, running inside `async with`."""

    def __init__(
        self, config: DaemonConfig, on_event: Callable[[DaemonEvent], None] | None = None
    ) -> None:
        self.config = config
        self.listen: tuple[Multiaddr, ...] = ()
        """Where it listens, ports resolved."""
        self.generation = -1
        self._on_event = on_event
        self._folder: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._is_running = False
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

    @property
    def peer_id(self) -> PeerId:
        return self.config.identity.peer_id

    @property
    def restarts(self) -> int:
        """How often it had to be started again."""
        return max(self.generation, 0)

    @property
    def is_running(self) -> bool:
        return self._is_running

    @property
    def control(self) -> ControlSocket:
        """The control socket of the running daemon; Unavailable while there is none."""
        if not self._is_running or self._folder is None:
            raise daemon_gone()
        return ControlSocket(self._folder / CONTROL_SOCKET)

    @property
    def folder(self) -> Path:
        """A folder that only this user can enter and that lasts as long as the daemon."""
        if self._folder is None:
            raise daemon_gone()
        return self._folder

    async def running(self, after_generation: int = -1) -> int:
        """Wait until a daemon younger than a generation runs, and return which one that is."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._is_running and self.generation > after_generation
            )
            return self.generation

    async def stopped(self, generation: int) -> None:
        """Wait until the daemon of a generation has died."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self.generation > generation or not self._is_running
            )

    async def __aenter__(self) -> Self:
        self.listen = reserve_ports(self.config.listen)
        self._folder = make_private_folder()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._shut_down)
            await self._start()
            undo.pop_all()
        self._supervisor = asyncio.create_task(self._supervise(), name="p2pd-supervisor")
        self._supervisor.add_done_callback(report_bug)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await self._shut_down()

    async def _start(self) -> None:
        """Start a process and wait until it answers."""
        (self.folder / CONTROL_SOCKET).unlink(missing_ok=True)  # a killed daemon leaves it behind
        key = self.folder / KEY_FILE
        write_private(key, encode_key(self.config.identity))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *daemon_command(self.config, self.listen, self.folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, "GOLOG_LOG_LEVEL": "error"},
                start_new_session=True,  # Ctrl-C in a terminal is for us to act on
            )
            ready = asyncio.Event()
            self._output = asyncio.create_task(self._drain_output(self._process, ready))
            await self._await_ready(ready)
        finally:
            key.unlink(missing_ok=True)
        await self._announce(is_running=True)

    async def _await_ready(self, ready: asyncio.Event) -> None:
        assert self._output is not None
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait(
                {waiting, self._output},
                timeout=START_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
        if not ready.is_set():
            last = self._lines[-1] if self._lines else "it says nothing"
            raise ResourceError(f"the libp2p daemon does not start: {last[:300]}")

    async def _drain_output(
        self, process: asyncio.subprocess.Process, ready: asyncio.Event
    ) -> None:
        """Read what it prints for as long as it lives: it would block on a full pipe."""
        assert process.stdout is not None
        unfinished = ""
        while data := await process.stdout.read(1 << 12):
            *lines, unfinished = (unfinished + data.decode(errors="replace")).split("\n")
            unfinished = unfinished[-_MAX_LINE:]
            self._lines.extend(line for line in lines if line.strip())
            if any(line.startswith("Peer ID:") for line in lines):
                ready.set()

    async def _supervise(self) -> None:
        """Start the daemon again whenever it ends, ever more patiently if it does so at once."""
        clock = asyncio.get_running_loop().time
        backoff_s = FIRST_BACKOFF_S
        while True:
            started = clock()
            await self._await_death()
            await self._end_process()
            if clock() - started > STEADY_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            while not self._is_running:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
                try:
                    await self._start()
                except (PsycheError, OSError) as error:
                    _log.error("the libp2p daemon cannot be started again", cause=str(error))
                    await self._end_process()

    async def _await_death(self) -> None:
        assert self._process is not None
        assert self._output is not None
        exit_code = await self._process.wait()
        await self._output  # its last words
        last_line = self._lines[-1] if self._lines else ""
        _log.warning("the libp2p daemon died", exit_code=exit_code, last_line=last_line[:200])
        await self._announce(is_running=False, exit_code=exit_code, last_line=last_line)

    async def _announce(self, *, is_running: bool, exit_code: int = 0, last_line: str = "") -> None:
        self._lines.clear()
        async with self._changed:
            self._is_running = is_running
            self.generation += is_running
            self._changed.notify_all()
        if self._on_event is not None:
            started, died = DaemonStarted(self.generation), DaemonDied
            self._on_event(started if is_running else died(self.generation, exit_code, last_line))

    async def _shut_down(self) -> None:
        async with self._changed:
            self._is_running = False
            self._changed.notify_all()
        await self._end_process()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _end_process(self) -> None:
        """Ask it to end, then make it, then read what it still has to say."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            _kill(process.pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), TERMINATE_TIMEOUT_S)
            except asyncio.TimeoutError:
                _kill(process.pid, signal.SIGKILL)
                await process.wait()
        if self._output is not None:
            await self._output
            self._output = None


def _kill(pid: int, number: signal.Signals) -> None:
    """Not Process.send_signal, which may reap the child before asyncio does and lose its code."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
