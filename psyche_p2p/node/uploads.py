"""Checkpoints to a hub, one at a time and the newest first, never in the way of the run."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from psyche_p2p.errors import PsycheError, Unavailable
from psyche_p2p.files import storage_error
from psyche_p2p.ids import RoundIndex
from psyche_p2p.log import get_logger
from psyche_p2p.net import launch
from psyche_p2p.observe import events

FIRST_BACKOFF_S, LAST_BACKOFF_S = 5.0, 600.0
LAST_PATIENCE_S = 600.0
"""How long a peer whose run is over stays for the last checkpoint to be uploaded."""
_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    param_round: RoundIndex
    folder: Path


class Uploader:
    """Uploads what it was offered last to a repository like `me/model`; `run` is its task."""

    def __init__(
        self,
        repo: str,
        emit: Callable[[events.Event], None],
        first_backoff_s: float = FIRST_BACKOFF_S,
    ) -> None:
        self._repo = repo
        self._emit = emit
        self._first_backoff_s = first_backoff_s
        self._next: _Work | None = None
        self._offered = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def offer(self, folder: Path, param_round: RoundIndex) -> None:
        """A new checkpoint; one that still waits is passed over for it."""
        held = folder.with_name(f".upload-{folder.name}")
        try:  # under another name, because only the newest few keep their own
            shutil.rmtree(held, ignore_errors=True)
            shutil.copytree(folder, held, copy_function=os.link)
        except OSError as error:
            _log.error("no upload", cause=str(storage_error("cannot link", held, error)))
            return
        if self._next is not None:
            shutil.rmtree(self._next.folder, ignore_errors=True)
        self._next = _Work(param_round, held)
        self._idle.clear()
        self._offered.set()

    async def drain(self, stop: asyncio.Event) -> None:
        """Wait until the newest checkpoint is there, patience ends, or we are told to stop."""
        if self._idle.is_set():
            return
        _log.info("uploading the last checkpoint", repo=self._repo, patience_s=LAST_PATIENCE_S)
        either = [asyncio.create_task(one.wait()) for one in (self._idle, stop)]
        await asyncio.wait(either, timeout=LAST_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        for task in either:
            task.cancel()

    async def run(self) -> None:
        """Upload one after the other, again and again where it fails, until cancelled."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            work, self._next = self._next, None
            if work is not None:
                try:
                    await self._insist(work)
                finally:
                    shutil.rmtree(work.folder, ignore_errors=True)
            if self._next is None:
                self._idle.set()

    async def _insist(self, work: _Work) -> None:
        """Try until it is there or a newer one is."""
        backoff_s = self._first_backoff_s
        while self._next is None:
            try:
                commit = await self._upload(work)
            except PsycheError as error:
                _log.warning("not uploaded", rounds=work.param_round, cause=str(error))
            else:
                self._emit(events.CheckpointUploaded(work.param_round, commit))
                _log.info("checkpoint uploaded", repo=self._repo, rounds=work.param_round)
                return
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._offered.wait(), backoff_s)
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)

    async def _upload(self, work: _Work) -> str:
        """The commit that holds it; Unavailable, with the hub's reason, if it is not there."""
        process = await self._start(work)
        try:
            out, trouble = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = trouble.decode(errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip()]
            reason = said[-1][:300] if said else f"exit code {process.returncode}"
            raise Unavailable(f"the hub did not take it: {reason}", "it is tried again")
        return out.decode().strip()

    async def _start(self, work: _Work) -> Process:
        message = f"after {work.param_round} rounds"
        module = "psyche_p2p.node.hub_upload"
        command = [sys.executable, "-m", module, str(work.folder), self._repo]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            launch.__file__,
            str(os.getpid()),
            *command,
            message,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, **_QUIET},
        )
