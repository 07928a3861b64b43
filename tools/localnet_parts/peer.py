"""One peer's process: in a process group of its own, and dead when we are."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from localnet_parts.tally import Tally
from psyche_p2p.errors import ResourceError
from psyche_p2p.net import launch
from psyche_p2p.observe.event_log import EventTail

GRACE_S = 5.0
_POLL_S = 0.02
_ERROR_LINE = re.compile(r"\d\d:\d\d:\d\d ERROR |error: |Traceback \(most recent call last\)")
_INTERRUPTED = 130


class Peer:
    """A peer with its home folder, its log, its events, and its process once there is one."""

    def __init__(self, number: int, tally: Tally, home: Path) -> None:
        self.number = number
        self.tally = tally
        self.home = home
        self.log_path = home.with_name(f"{home.name}.log")
        self.events_path = home / "events.jsonl"
        self.exit_code: int | None = None
        """Of the last process that ended and was not ended by us."""
        self.is_up = False
        self.kills = 0
        self._tail = EventTail(self.events_path)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of its newest process."""
        assert self._process is not None, "never started"
        return self._process.pid

    def start(self, command: Sequence[str]) -> None:
        """Start the process; its output is added to the log."""
        program = shutil.which(command[0])
        if program is None:
            raise ResourceError(f"there is no program {command[0]!r}", "remove .venv, try again")
        launcher = [sys.executable, "-I", "-S", str(launch.__file__), str(os.getpid())]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher, program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.is_up = True
        self.tally.on_launch()

    def update(self) -> bool:
        """Learn what the peer did; True once, when its process has ended."""
        has_ended = self.is_up and self._process is not None and self._process.poll() is not None
        self._read_events()  # after the poll, so that last words are heard
        if has_ended and self._process is not None:
            self.exit_code = self._process.returncode
            self._bury()
        return has_ended

    def interrupt(self) -> None:
        """Ask it to leave, as Ctrl-C would."""
        if self.is_up and self._process is not None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the process and all of its group, at once."""
        if self.is_up and self._process is not None:
            self._process.kill()
            self._process.wait()
            self._bury()
            self._read_events()  # before the next process is anybody

    def close(self) -> None:
        self._tail.close()

    def error_lines(self) -> list[str]:
        """The lines of its log that tell of an error."""
        return find_error_lines(self.log_path)

    def last_words(self) -> str:
        """The last line of its log that says something."""
        kept = deque((line for line in _read_lines(self.log_path) if line), maxlen=1)
        return kept[0] if kept else "it said nothing"

    def _read_events(self) -> None:
        for recorded in self._tail.read():
            self.tally.on_event(recorded)

    def _bury(self) -> None:
        """End what the process started and left behind."""
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.is_up = False


def find_error_lines(log: Path) -> list[str]:
    """The lines of a peer's log that tell of an error, not those that only contain the word."""
    return [line for line in _read_lines(log) if _ERROR_LINE.match(line)]


def _read_lines(path: Path) -> list[str]:
    try:
        with path.open(errors="replace") as file:
            return [line.strip() for line in file]
    except FileNotFoundError:
        return []


def end_all(peers: Sequence[Peer], grace_s: float = GRACE_S) -> list[str]:
    """Ask all to leave, wait, kill who is left; what went wrong. An interrupt ends the wait."""
    leaving = [peer for peer in peers if peer.is_up]
    for peer in leaving:
        peer.interrupt()
    deadline_s = time.monotonic() + grace_s
    problems = []
    try:
        while any(peer.is_up for peer in leaving) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
            for peer in leaving:
                if peer.update() and peer.exit_code not in (0, _INTERRUPTED):
                    code, words = peer.exit_code, peer.last_words()
                    problems.append(f"peer {peer.number} left with exit code {code}: {words}")
    finally:
        for peer in leaving:
            if peer.is_up:
                problems.append(f"peer {peer.number} did not leave within {grace_s:g} s of Ctrl-C")
            peer.kill()
    return problems
