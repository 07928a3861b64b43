"""A stand-in for psyche-peer: writes the events of a run that goes well, or goes wrong as told.

It has no network and trains nothing: it is for the supervisor's own logic. STAND_IN in the
environment maps a peer's number to its misfortunes, as JSON: {"1": {"crash_at": 3}}.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Literal

from psyche_p2p.ids import PeerId
from psyche_p2p.keyfile import load_key
from psyche_p2p.observe.event_log import EventLog, read_events
from psyche_p2p.observe.events import (
    Applied,
    Event,
    Finished,
    MemberChanged,
    PhaseEntered,
    Restarted,
    RootAgreed,
    RoundClosed,
    RunFound,
    Started,
    Stopped,
    Traffic,
    Trained,
)

_ROUND_S = 0.01
_BYTES_A_ROUND = 1000


def main() -> int:
    role: Literal["trainer", "witness"] = "witness" if sys.argv[1] == "witness" else "trainer"
    options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    home = Path(options["--home"])
    number = home.name.removeprefix("peer")
    misfortunes: dict[str, Any] = json.loads(os.environ.get("STAND_IN", "{}")).get(number, {})
    with (home / "launches").open("a") as file:
        file.write(json.dumps({"argv": sys.argv[1:], "pid": os.getpid()}) + "\n")
    if "child" in misfortunes:
        child = subprocess.Popen(["sleep", "600"])
        (home / "child").write_text(str(child.pid))
    if "deaf" in misfortunes:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "never_start" in misfortunes:
        signal.pause()
    with EventLog.open(Path(options["--events"])) as log:
        peer = StandIn(home, log, int(options.get("--tier", "0")), misfortunes)
        try:
            code = peer.run(role, options["--listen"])
        except KeyboardInterrupt:
            code = 0
        log.write(Stopped("over", code))
    return code


class StandIn:
    """A peer that believes whatever round it is in."""

    def __init__(self, home: Path, log: EventLog, tier: int, misfortunes: dict[str, Any]) -> None:
        self.home = home
        self.log = log
        self.tier = tier
        self.misfortunes = misfortunes
        self.peer = PeerId(load_key(home / "peer.key").peer_id)
        text = (home.parent / "run.toml").read_text()
        self.rounds = int(re.findall(r"^total_rounds = (\d+)", text, re.MULTILINE)[0])

    def run(self, role: Literal["trainer", "witness"], host: str) -> int:
        earlier = [each.event for each in read_events(self.log.path)]
        rounds = [event.round for event in earlier if isinstance(event, RoundClosed)]
        if earlier:
            self.log.write(Restarted("node", "found its own events"))
        address = f"/ip4/{host.partition(':')[0]}/tcp/4001/p2p/{self.peer}"
        self._tell(
            Started(self.peer, self.tier, role, (address,), ("127.0.0.1:5001",)),
            RunFound("ab" * 32, "a run"),
            MemberChanged(self.peer, "admitted", ""),
            PhaseEntered("WARMUP", 0, 1),
            PhaseEntered("TRAIN", 0, 2),
        )
        for number in range(max(rounds, default=-1) + 1, self.rounds):
            self._round(number, role)
            if number == self.misfortunes.get("crash_at"):
                sys.stderr.write("error: out of luck; buy some\n")
                return 5
            if number == self.misfortunes.get("leave_at"):
                return 0
        self._tell(PhaseEntered("FINISHED", 0, 9), Finished(self.rounds - 1))
        return 0

    def _round(self, number: int, role: str) -> None:
        if number == self.misfortunes.get("hold_at"):
            while self._launches() < self.misfortunes.get("until_launches", 1 << 30):
                threading.Event().wait(_ROUND_S)
        threading.Event().wait(_ROUND_S)
        if number == self.misfortunes.get("error_at"):
            sys.stderr.write("12:00:00 ERROR gpu on fire\n")
        roots = [self._root(number, level) for level in range(3 - self.tier)]
        if role == "trainer":
            self._tell(Trained(number, 0, 4, 5.0 - number * 0.1, 512, _ROUND_S))
        self._tell(
            RoundClosed(number, number + 2, 1, 1, (self.peer,), ()),
            Applied(number, tuple(roots), 0.001),
            RootAgreed(number, tuple(self._root(number, level, False) for level in range(3))),
            Traffic(_BYTES_A_ROUND * (number + 1), 2 * _BYTES_A_ROUND),
        )

    def _root(self, number: int, level: int, may_err: bool = True) -> str:
        is_wrong = may_err and number == self.misfortunes.get("wrong_root_at")
        return hashlib.sha256(f"{number} {level} {is_wrong}".encode()).hexdigest()

    def _launches(self) -> int:
        """How many processes all peers of this network have been."""
        files = self.home.parent.glob("peer*/launches")
        return sum(len(file.read_text().splitlines()) for file in files)

    def _tell(self, *events: Event) -> None:
        for event in events:
            self.log.write(event)


if __name__ == "__main__":
    sys.exit(main())
