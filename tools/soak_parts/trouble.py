"""What is done to a peer, and whether it is back."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from localnet_parts.peer import Peer
from localnet_parts.processes import children

# A process may end before our signal reaches it.
_GONE = (ProcessLookupError, FileNotFoundError)


class Kind(Enum):
    """Everything that happens to a peer; the values are for people."""

    KILL_NODE = "node killed"
    KILL_TRAINER = "trainer killed"
    KILL_DAEMON = "daemon killed"
    STOP = "stopped"
    WITHDRAW = "withdrew"
    JOIN = "joined"


@dataclass(slots=True)
class Trouble:
    """One thing that was done to one peer."""

    kind: Kind
    peer: Peer
    began_s: float
    over_s: float
    """When the peer may come back: it is woken or started then."""
    pids: tuple[int, ...] = ()
    """What was stopped."""
    freed_s: float | None = None
    """When it was woken or started, if it has been."""
    round: int = 0
    """The newest round that anyone knew of then."""
    back_s: float | None = None

    def look(self, now_s: float) -> None:
        """See whether a contribution of the peer, trained since, has been accepted."""
        tally = self.peer.tally
        first = self.round + 2  # what was open then may have been trained before
        if self.freed_s is not None and self.back_s is None:
            newer = (who for number, who in tally.accepted.items() if number >= first)
            if any(tally.peer in who for who in newer):
                self.back_s = now_s

    @property
    def is_away(self) -> bool:
        """Whether the peer neither votes nor attests, as far as can be seen from outside.

        One that joins was not counted on before.
        """
        if self.kind is Kind.JOIN or self.back_s is not None:
            return False
        known = self.peer.tally.last_round
        return self.freed_s is None or known is None or known < self.round + 2

    @property
    def seconds(self) -> float | None:
        """From when it could come back to when it was."""
        if self.back_s is None or self.freed_s is None:
            return None
        return self.back_s - self.freed_s


def stop(trouble: Trouble) -> None:
    """The peer and everything it started stand still."""
    with suppress(*_GONE):
        pid = trouble.peer.pid
        trouble.pids = (pid, *children(pid).values())
        for each in trouble.pids:
            os.kill(each, signal.SIGSTOP)


def wake(trouble: Trouble) -> None:
    """What stood still goes on."""
    for each in trouble.pids:
        with suppress(*_GONE):
            os.kill(each, signal.SIGCONT)
    trouble.pids = ()


def kill_part(trouble: Trouble, name: str) -> None:
    """The peer's trainer or daemon dies; the peer starts another."""
    with suppress(*_GONE):
        child = children(trouble.peer.pid).get(name)
        if child is not None:
            os.kill(child, signal.SIGKILL)


@dataclass(slots=True)
class Recovery:
    """How one kind of trouble went."""

    count: int = 0
    seconds: list[float] = field(default_factory=list)


def sum_up(troubles: list[Trouble]) -> dict[str, Recovery]:
    """By kind, in the order of the kinds."""
    found = {kind.value: Recovery() for kind in Kind}
    for trouble in troubles:
        recovery = found[trouble.kind.value]
        recovery.count += 1
        if trouble.seconds is not None:
            recovery.seconds.append(trouble.seconds)
    return found
