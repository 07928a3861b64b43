"""Starts donors and a newcomer, on the loopback or behind emulated links, and watches a join."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self
from wan_emulation.profile import PathProfile
from wan_emulation.wan import Wan

from benchmarks.joins.world import World
from benchmarks.transfer.ours import make_peer

_TOOLS = Path(__file__).resolve().parents[2]
_LOOPBACK = "127.0.0.1"
_GIVE_UP_S = 240.0
MTU = 9000
"""One core in Python carries no more full packets of 1500 bytes than these links need."""


class Child:
    """A process that talks in lines of JSON."""

    def __init__(self, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_TOOLS), str(_TOOLS.parent)])},
        )
        self._alarm = threading.Timer(_GIVE_UP_S, self._process.kill)
        self._alarm.start()

    def ask(self) -> dict[str, Any]:
        """Its answer to an empty line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.read() or {}

    def read(self) -> dict[str, Any] | None:
        """Its next line; None when it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        self._alarm.cancel()
        self._process.kill()
        self._process.communicate()


@dataclass
class Donor:
    """A donor's process and where it is."""

    name: str
    child: Child
    address: str


@dataclass(frozen=True)
class Joined:
    """What is known of a join that has ended, or (without seconds) was cut short."""

    seconds: float
    cpu_s: float
    size_bytes: int
    arrived_s: float
    """From the first chunk to the last."""
    given: dict[str, int]
    """Chunks, by donor."""
    here_at_first: int
    """Chunks, when the first came."""


class Scene:
    """Donors 0, 1, ... and a newcomer; with `links` behind these.

    The newcomer's link is the first, then come the donors', and a follower's.
    """

    def __init__(
        self, world: World, folder: Path, donors: int, links: Sequence[PathProfile] = ()
    ) -> None:
        self._world = world
        self._folder = folder
        self._count = donors
        self._links = links
        self._wan: Wan | None = None
        self._stack = ExitStack()
        self.donors: list[Donor] = []

    def __enter__(self) -> Self:
        if self._links:
            self._wan = self._stack.enter_context(Wan(self._links, mtu=MTU))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def switch_pid(self) -> int | None:
        return None if self._wan is None else self._wan.switch_pid

    def start_donors(
        self,
        *,
        liar_after: int | None = None,
        core: int | None = None,
        bytes_per_s: float | None = None,
    ) -> None:
        """All of them; the first lies after so many honest chunks, or all stay on one core.

        `bytes_per_s` is what each gives to newcomers.
        """
        for number in range(self._count):
            name, place = f"donor {number}", self._folder / f"donor-{number}"
            shutil.copytree(self._world.store, place, copy_function=os.link)
            request = {
                "world": str(self._world.store.parent),
                "name": name,
                "host": self._host(number + 1),
                "folder": str(place),
                "bytes_per_s": bytes_per_s,
                "lies_after": liar_after if number == 0 else None,
            }
            child = self._start("donor", request, number + 1, core)
            said = child.read()
            assert said is not None, f"{name} did not start"
            self.donors.append(Donor(name, child, f"{self._host(number + 1)}:{said['port']}"))

    def join(
        self,
        *,
        from_first: int | None = None,
        half_way: Callable[[Child], None] | None = None,
        core: int | None = None,
    ) -> Joined:
        """Have the newcomer fetch the parameters; half way through, do something to somebody."""
        child = self.start_newcomer(from_first, core)
        lines: list[dict[str, Any]] = []
        while (line := child.read()) is not None:
            lines.append(line)
            if half_way and 2 * line.get("chunks_here", 0) >= line.get("chunks_total", 1 << 40):
                half_way(child)
                half_way = None
        return self._joined(lines)

    def start_newcomer(self, from_first: int | None = None, core: int | None = None) -> Child:
        """Who fetches the parameters from the first so many donors."""
        return self._start_asking("newcomer", 0, from_first, core)

    def start_follower(self) -> Child:
        """A member that fetches an update from the first donor whenever it is asked to."""
        return self._start_asking("follower", self._count + 1, 1, None)

    def _start_asking(
        self, module: str, peer: int, from_first: int | None, core: int | None
    ) -> Child:
        request = {
            "world": str(self._world.store.parent),
            "host": self._host(peer),
            "folder": str(self._folder / module),
            "donors": {one.name: one.address for one in self.donors[:from_first]},
        }
        return self._start(module, request, peer, core)

    def forget(self) -> None:
        """The next newcomer has nothing."""
        shutil.rmtree(self._folder / "newcomer", ignore_errors=True)

    def _joined(self, lines: list[dict[str, Any]]) -> Joined:
        arriving = [line for line in lines if line.get("event") == "parameters_arriving"]
        names = {make_peer(one.name)[1].peer: one.name for one in self.donors}
        last = arriving[-1]
        given = zip(last["sources"], last["chunks_given"], strict=True)
        ended = lines[-1] if "seconds" in lines[-1] else {}
        return Joined(
            ended.get("seconds", float("nan")),
            ended.get("cpu_s", float("nan")),
            ended.get("size_bytes", 0),
            last["at_s"] - arriving[0]["at_s"],
            {names[peer]: chunks for peer, chunks in given},
            arriving[0]["chunks_here"],
        )

    def _start(self, module: str, request: dict[str, Any], peer: int, core: int | None) -> Child:
        words = [sys.executable, "-m", f"benchmarks.joins.{module}", json.dumps(request)]
        if core is not None:
            words = ["taskset", "-c", str(core), *words]
        if self._wan is not None:
            words = self._wan.command(peer, words)
        child = Child(words)
        self._stack.callback(child.end)
        return child

    def _host(self, peer: int) -> str:
        return _LOOPBACK if self._wan is None else self._wan.addresses[peer]


def kill(child: Child) -> None:
    """As the kernel's out-of-memory killer would."""
    child.signal(signal.SIGKILL)


def freeze(child: Child) -> None:
    """It holds its connections, and does nothing any more."""
    child.signal(signal.SIGSTOP)
