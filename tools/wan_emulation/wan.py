"""An emulated network as one object: start it, run commands at its peers, close it.

    with Wan([PathProfile(delay_ms=25, loss=0.005)] * 3) as wan:
        subprocess.run(wan.command(0, ["ping", "-c3", wan.addresses[1]]))

Peers see nothing but each other and their own loopback; they share the file system, so files, pipes
and Unix sockets reach them from outside. For asyncio: `command` only makes a list of words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from psyche_p2p.errors import ResourceError
from wan_emulation.namespaces import kill_everyone_in, why_unavailable
from wan_emulation.profile import PathProfile
from wan_emulation.shaping import Counters
from wan_emulation.switch import MAX_PEERS, address_of

DEFAULT_MTU = 1500
_TOOLS = Path(__file__).resolve().parent.parent
_CLOSE_S = 15.0


class Wan:
    """Peers behind slow links, each in a network namespace of its own."""

    def __init__(
        self, profiles: Sequence[PathProfile], *, mtu: int = DEFAULT_MTU, seed: int = 0
    ) -> None:
        if not 1 <= len(profiles) <= MAX_PEERS:
            raise ValueError(f"an emulated network has 1 to {MAX_PEERS} peers")
        self._request = {"profiles": [asdict(each) for each in profiles], "mtu": mtu, "seed": seed}
        self.addresses = tuple(address_of(peer) for peer in range(len(profiles)))
        self.counters: Counters | None = None
        """What became of all packets; known once the network is closed."""
        self._switch: subprocess.Popen[str] | None = None
        self._namespaces: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        reason = why_unavailable()
        if reason:
            raise ResourceError(f"cannot emulate a network: {reason}", "try: tools/wan proxy")
        self._switch = subprocess.Popen(
            [sys.executable, "-m", "wan_emulation.switch", json.dumps(self._request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_TOOLS)},
        )
        ready = self._read_line()
        if "namespaces" not in ready:
            self.close()
            raise ResourceError(f"cannot emulate a network: {ready.get('error', 'switch died')}")
        self._namespaces = [(descriptor, inode) for descriptor, inode in ready["namespaces"]]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def switch_pid(self) -> int:
        """The process in the middle."""
        assert self._switch is not None, "the network has not been started"
        return self._switch.pid

    def command(self, peer: int, arguments: Sequence[str]) -> list[str]:
        """The command that runs `arguments` where this peer is."""
        descriptor, _ = self._namespaces[peer]
        return ["nsenter", f"--net=/proc/{self.switch_pid}/fd/{descriptor}", "--", *arguments]

    def close(self) -> None:
        """End everything that still runs in the network, and the network."""
        if self._switch is None or self._switch.stdin is None:
            return
        self._switch.stdin.close()
        try:
            self._switch.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._switch.kill()
            self._switch.wait()
        last = self._read_line()
        if "counters" in last:
            self.counters = Counters(**last["counters"])
        kill_everyone_in(frozenset(inode for _, inode in self._namespaces))
        if self._switch.stdout is not None:
            self._switch.stdout.close()
        self._switch = None

    def _read_line(self) -> dict[str, Any]:
        assert self._switch is not None
        assert self._switch.stdout is not None
        line = self._switch.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {}
        return answer
