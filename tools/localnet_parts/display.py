"""Shows a network while it runs: a table that stays in place, or a line now and then."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from localnet_parts.peer import Peer
from psyche_p2p.ids import short_id

_LINE_EVERY_S = 3.0
_TABLE_EVERY_S = 0.5
_COLUMNS = ("peer", "tier", "phase", "round", "loss", "tok/s", "MB out", "MB in", "root", "kills")


class Display(Protocol):
    """What the supervisor shows progress on."""

    def show(self, peers: Sequence[Peer], seconds: float) -> None:
        """Take a look at the peers; whether it is time to say something is not the caller's."""

    def say(self, line: str) -> None:
        """Something that happened."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines:
    """One line of progress every few seconds."""

    def __init__(self, stream: TextIO, rounds: int) -> None:
        self._stream = stream
        self._rounds = rounds
        self._next_s = 0.0

    def show(self, peers: Sequence[Peer], seconds: float) -> None:
        if seconds >= self._next_s:
            self._next_s = seconds + _LINE_EVERY_S
            self.say(f"{seconds:5.0f} s  {progress(peers, self._rounds)}")

    def say(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to do: lines are left where they are."""


class LiveTable:
    """A table of all peers that is drawn again in place."""

    def __init__(self, stream: TextIO, rounds: int) -> None:
        self._rounds = rounds
        self._live = Live(console=Console(file=stream), auto_refresh=False)
        self._next_s = 0.0

    def show(self, peers: Sequence[Peer], seconds: float) -> None:
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _TABLE_EVERY_S
        self._live.start()
        title = f"{seconds:.0f} s  {progress(peers, self._rounds)}"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in _COLUMNS:
            table.add_column(name, no_wrap=True)
        for peer in peers:
            table.add_row(*_row(peer))
        self._live.update(table, refresh=True)

    def say(self, line: str) -> None:
        self._live.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._live.stop()


def progress(peers: Sequence[Peer], rounds: int) -> str:
    """Where the network is, in one line."""
    tallies = [peer.tally for peer in peers]
    closed = set[int]().union(*(tally.accepted for tally in tallies))
    up = sum(peer.is_up for peer in peers)
    parts = [f"{up} of {len(peers)} peers up", f"{len(closed)} of {rounds} rounds"]
    phases = sorted({tally.phase for tally in tallies if tally.phase})
    parts += [" and ".join(phases)] if phases else []
    losses = [tally.losses[max(tally.losses)] for tally in tallies if tally.losses]
    if losses:
        speed = sum(tally.tokens_per_s for tally in tallies)
        parts += [f"loss {sum(losses) / len(losses):.4f}", f"{speed:.0f} tokens/s"]
    parts.append(f"{sum(tally.sent_bytes for tally in tallies) / 1e6:.1f} MB sent")
    return ", ".join(parts)


def laggards(peers: Sequence[Peer]) -> str:
    """Who is how far, for the one line that says why we give up."""
    return ", ".join(
        f"peer {peer.number} {_standing(peer)}" for peer in peers if peer.exit_code is None
    )


def _standing(peer: Peer) -> str:
    tally = peer.tally
    if not peer.is_up:
        return "waits for the first"
    if not tally.addresses:
        return "has not started"
    return f"is in {tally.phase or 'no phase'}, round {tally.last_round}"


def _row(peer: Peer) -> tuple[str, ...]:
    tally = peer.tally
    roots = tally.roots.get(tally.param_round) if tally.param_round is not None else None
    return (
        short_id(tally.peer),
        str(tally.tier) if tally.role == "trainer" else "witness",
        _state(peer),
        _known(tally.last_round),
        f"{tally.losses[max(tally.losses)]:.4f}" if tally.losses else "-",
        f"{tally.tokens_per_s:.0f}",
        f"{tally.sent_bytes / 1e6:.1f}",
        f"{tally.received_bytes / 1e6:.1f}",
        roots[0][:8] if roots else "-",  # of the smallest model: what all of them share
        str(peer.kills or "-"),
    )


def _state(peer: Peer) -> str:
    if not peer.is_up:
        return "-" if peer.exit_code is None else f"exit code {peer.exit_code}"
    return peer.tally.phase or ("joining" if peer.tally.addresses else "starting")


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)
