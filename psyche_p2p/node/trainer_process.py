"""The peer's end of its trainer process: start it, talk to it, notice at once when it dies."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from typing_extensions import Self

from psyche_p2p.errors import ExitCode, LocalError, PsycheError, Unavailable, local_error
from psyche_p2p.train.messages import Command, Event, Failed, Ready, Setup
from psyche_p2p.train.pipe import MAX_LINE_BYTES, decode_message, encode_message

TRAINER = (sys.executable, "-m", "psyche_p2p.train")
"""The trainer's command; two file descriptors are added, where it reads and where it writes."""
_GRACE_S = 1.5  # what a trainer may take to notice that its pipe is closed


class TrainerFailed(PsycheError):
    """The trainer could not carry out a command; cause, cure and exit code are the trainer's."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.cause, failed.cure)
        self.command = failed.command
        self.exit_code = ExitCode(failed.exit_code)

    def as_local_error(self) -> LocalError:
        """The same as this peer's own error, for a trainer that cannot even begin."""
        return local_error(self.exit_code, self.cause, self.cure)


class TrainerProcess:
    """A running trainer; an async context manager. After its death every call is Unavailable.

    One task reads events with `receive`; any task may `send`. Commands are carried out one after
    another, in the order sent.
    """

    def __init__(self, setup: Setup, command: Sequence[str] = TRAINER) -> None:
        self._setup = setup
        self._command = tuple(command)
        self._process: Process | None = None
        self._events: asyncio.StreamReader | None = None
        self._commands: asyncio.StreamWriter | None = None
        self._read_transport: asyncio.BaseTransport | None = None

    @property
    def pid(self) -> int:
        return self._started().pid

    async def __aenter__(self) -> Self:
        command_read, command_write = os.pipe()
        event_read, event_write = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                str(command_read),
                str(event_write),
                pass_fds=(command_read, event_write),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # a signal to the terminal's group is for us to act on
            )
        finally:
            os.close(command_read)
            os.close(event_write)
        await self._connect(event_read, command_write)
        await self.send(self._setup)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close the pipe, give the trainer a moment to end by itself, then end it."""
        if self._commands is not None:
            self._commands.close()
        process = self._started()
        try:
            await asyncio.wait_for(process.wait(), _GRACE_S)
        except asyncio.TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._read_transport is not None:
            self._read_transport.close()

    async def ready(self) -> Ready:
        """Wait until the model and the data are loaded; TrainerFailed if they cannot be."""
        event = await self.receive()
        if not isinstance(event, Ready):
            raise Unavailable(f"the trainer said {type(event).__name__} before it was ready")
        return event

    async def send(self, command: Command) -> None:
        """Hand over a command; Unavailable if the trainer is gone."""
        assert self._commands is not None, "used outside its context"
        try:
            self._commands.write(encode_message(command))
            await self._commands.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._gone() from error

    async def receive(self) -> Event:
        """The next event; TrainerFailed for a failed command, Unavailable after its death."""
        assert self._events is not None, "used outside its context"
        line = await self._events.readline()
        if not line.endswith(b"\n"):
            await self._started().wait()
            raise self._gone()
        event: Any = decode_message(line)
        if isinstance(event, Failed):
            raise TrainerFailed(event)
        received: Event = event
        return received

    async def _connect(self, event_read: int, command_write: int) -> None:
        loop = asyncio.get_running_loop()
        self._events = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        self._read_transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._started_events()),
            os.fdopen(event_read, "rb"),
        )
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(command_write, "wb")
        )
        self._commands = asyncio.StreamWriter(transport, protocol, None, loop)

    def _started_events(self) -> asyncio.StreamReader:
        assert self._events is not None
        return self._events

    def _started(self) -> Process:
        assert self._process is not None, "used outside its context"
        return self._process

    def _gone(self) -> Unavailable:
        code = self._started().returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return Unavailable(f"the trainer process is gone ({how})", "it will be started again")
