"""The peer's trainer, whichever process that is just now: asked one thing at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType

from typing_extensions import Self

from psyche_p2p.errors import ResourceError, Unavailable
from psyche_p2p.log import get_logger
from psyche_p2p.node.trainer_process import TRAINER, TrainerFailed, TrainerProcess
from psyche_p2p.train.messages import Command, Event, Progress, Ready, Setup, Warned

_MAX_DEATHS = 5
_STEADY_S = 300.0  # a trainer that lived so long was not killed by its own doing
_log = get_logger(__name__)


class TrainerLost(Unavailable):
    """The trainer process died; a new one is ready, with the run's initial parameters."""


class TrainerDesk:
    """Runs a trainer while entered, and another one whenever it dies."""

    def __init__(self, setup: Setup, command: Sequence[str] = TRAINER) -> None:
        self._setup = setup
        self._command = command
        self._process: TrainerProcess | None = None
        self._lock = asyncio.Lock()
        self._starting: asyncio.Task[None] | None = None
        self._deaths = 0
        self._born_at = 0.0
        self.ready: Ready | None = None
        """What the trainer said when its model and data were there."""
        self.restarts = 0

    async def __aenter__(self) -> Self:
        """Start the trainer; it loads while the peer enters the network."""
        _log.info("starting the trainer", tier=self._setup.tier, device=self._setup.device)
        self._starting = asyncio.create_task(self._begin(), name="trainer-start")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        process, self._process = self._process, None
        if process is not None:
            await process.__aexit__(kind, error, trace)

    async def started(self) -> Ready:
        """Wait until the model and the data are loaded; a LocalError if they cannot be."""
        assert self._starting is not None, "used outside its context"
        try:
            await self._starting
        except Unavailable as error:
            raise ResourceError(
                f"the trainer does not start: {error.cause}", "see the log above, and free memory"
            ) from error
        ready = self.ready
        assert ready is not None, "started"
        _log.info(
            "trainer ready",
            device=ready.device,
            parameters=ready.parameters,
            seconds=round(ready.seconds, 1),
        )
        return ready

    @property
    def pid(self) -> int | None:
        """The trainer's process id, for whoever watches its memory."""
        return None if self._process is None else self._process.pid

    async def ask(self, command: Command) -> Event:
        """Have a command carried out.

        TrainerFailed if it could not be; TrainerLost if the trainer died over it, in which case the
        parameters have to be brought back before anything else is asked.
        """
        async with self._lock:
            process = self._process
            if process is None:
                raise Unavailable("the trainer is not running")
            try:
                with suppress(Unavailable):  # its last words, if it died meanwhile, come first
                    await process.send(command)
                return await self._answer(process)
            except Unavailable as error:
                if self._process is None:
                    raise
                await self._replace(str(error))
                raise TrainerLost(str(error)) from error

    async def _answer(self, process: TrainerProcess) -> Event:
        while True:
            event = await process.receive()
            if isinstance(event, Progress):
                _log.debug("training", round=event.round, done=event.done, total=event.total)
            elif isinstance(event, Warned):
                _log.warning(event.text)
            else:
                return event

    async def _begin(self) -> None:
        """Start a trainer; what it cannot do without, in the words of its own error."""
        async with AsyncExitStack() as undo:
            process = await undo.enter_async_context(TrainerProcess(self._setup, self._command))
            try:
                self.ready = await process.ready()
            except TrainerFailed as error:
                raise error.as_local_error() from error
            undo.pop_all()
        self._process = process
        self._born_at = asyncio.get_running_loop().time()

    async def _replace(self, cause: str) -> None:
        """Start another trainer; ResourceError when it keeps dying."""
        process, self._process = self._process, None
        if process is not None:
            await process.__aexit__(None, None, None)
        self.restarts += 1
        while True:
            self._count_death(cause)
            _log.warning("the trainer is started again", cause=cause, deaths=self._deaths)
            try:
                await self._begin()
                return
            except Unavailable as error:  # it died again before it was ready
                cause = str(error)

    def _count_death(self, cause: str) -> None:
        now_s = asyncio.get_running_loop().time()
        self._deaths = 1 if now_s - self._born_at > _STEADY_S else self._deaths + 1
        if self._deaths >= _MAX_DEATHS:
            raise ResourceError(
                f"the trainer died {self._deaths} times: {cause}",
                "free memory, use a larger --tier, or see the log above",
            )
