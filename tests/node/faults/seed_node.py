"""The bootstrap peer of a test's network, with its relay: a process to kill and start again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from typing_extensions import Self
from wan_emulation.wan import Wan

from psyche_p2p.identity import Identity
from psyche_p2p.keyfile import save_key
from psyche_p2p.net.multiaddr import require_peer_address
from psyche_p2p.net.relay.address import parse_relay_address

COMMAND = (sys.executable, "-c", "from psyche_p2p.cli.main import main; main()", "bootstrap")


class SeedNode:
    """`psyche-peer bootstrap --relay`, inside `with`."""

    def __init__(self, folder: Path, wan: Wan | None = None, place: int = 0) -> None:
        self._key = folder / "seed.key"
        save_key(Identity.from_seed(b"s" * 32), self._key)
        self._log = folder / "seed.log"
        self._wan = wan
        self._place = place
        self._host = wan.addresses[place] if wan is not None else "127.0.0.1"
        self._ports = ("0", "0")
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        """For --bootstrap."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, the second time where it was before."""
        port, relay_port = self._ports
        listen = f"/ip4/{self._host}/tcp/{port}"
        words = ["--key", str(self._key), "--listen", listen, "--relay-port", relay_port]
        command: Sequence[str] = [*COMMAND, *words, "--relay", "--json"]
        if self._wan is not None:
            command = self._wan.command(self._place, command)
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ
            )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        (self.address,) = said["addresses"]
        relay = parse_relay_address(said["relay"])
        self._ports = (str(require_peer_address(self.address).port), str(relay.port))

    def kill(self) -> None:
        """kill -9; its daemon dies with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
