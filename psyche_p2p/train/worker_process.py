"""The trainer's end of one worker: start it, talk to it, notice at once when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from typing_extensions import Self

from psyche_p2p.errors import ExitCode, LocalError, local_error
from psyche_p2p.train.messages import Failed, Warned
from psyche_p2p.train.pipe import MessagePipe
from psyche_p2p.train.worker_messages import WorkerSetup

WORKER = (sys.executable, "-m", "psyche_p2p.train.worker")
_LAST_WORDS_S = 10.0


class WorkerLost(LocalError):
    """A worker died; without it the trainer cannot go on."""


class WorkerProcess:
    """A running worker; a context manager, at whose end it is killed: it holds nothing of its own.

    `on_death` is called, from a thread, when it dies before. `emit` takes its warnings.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        meeting: int,
        emit: Callable[[object], None],
        on_death: Callable[[str], None],
    ) -> None:
        self.device = setup.device
        self._setup = setup
        self._meeting = meeting
        self._emit = emit
        self._on_death = on_death
        self._is_wanted = True
        self._watcher = threading.Thread(target=self._watch, name="worker-watch", daemon=True)

    def __enter__(self) -> Self:
        command_read, command_write = os.pipe()
        event_read, event_write = os.pipe()
        arguments = (str(os.getpid()), str(command_read), str(event_write))
        try:
            self._process = subprocess.Popen(
                (*WORKER, *arguments),
                pass_fds=(command_read, event_write, self._meeting),
                stdin=subprocess.DEVNULL,
            )
        finally:
            os.close(command_read)
            os.close(event_write)
        self._commands = os.fdopen(command_write, "wb")
        self._events = os.fdopen(event_read, "rb")
        self._pipe = MessagePipe(self._events, self._commands)
        self._watcher.start()
        self.send(self._setup)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._watcher.join()
        with suppress(BrokenPipeError):
            self._commands.close()
        self._events.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it, without `on_death`, and wait until it is gone."""
        self._is_wanted = False
        self._process.kill()
        self._process.wait()

    def send(self, message: object) -> None:
        try:
            self._pipe.send(message)
        except BrokenPipeError as error:
            raise self.lost() from error

    def receive(self) -> Any:
        """Its next answer; the error it had instead, which says where."""
        while isinstance(message := self._pipe.receive(), Warned):
            self._emit(Warned(f"{self.device}: {message.text}"))
        if message is None:
            raise self.lost()
        if isinstance(message, Failed):
            cause = f"{self.device}: {message.cause}"
            raise local_error(ExitCode(message.exit_code), cause, message.cure)
        return message

    def lost(self) -> WorkerLost:
        """The error of whoever finds it dead, once `on_death` was called."""
        self._watcher.join(_LAST_WORDS_S)
        return WorkerLost(f"the training process for {self.device} is gone")

    def _watch(self) -> None:
        code = self._process.wait()
        if self._is_wanted:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._on_death(f"the training process for {self.device} is gone ({how})")
