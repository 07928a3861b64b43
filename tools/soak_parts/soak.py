"""Runs a network for so long, hurts it, watches that rounds close, and judges it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

from localnet_parts.cast import Cast
from localnet_parts.display import Display, laggards
from localnet_parts.peer import Peer, end_all
from localnet_parts.plan import Plan
from wan_emulation.wan import Wan

from psyche_p2p.config import RunConfig
from psyche_p2p.ids import short_id
from soak_parts.gauges import Gauge
from soak_parts.mischief import Mischief
from soak_parts.report import Report, make_report

_TICK_S = 0.1
_INTERRUPTED = 130
_SPARED = 1  # not the first, which everyone else has the address of


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what may take."""

    seconds: float
    """Of trouble; start-up and the end come on top."""
    every_s: float
    stall_s: float
    """So long without a closed round is a failure; twice that, a peer that does not come back."""
    most_peers: int


class Soak:
    """One network, from its first peer's start to its last peer's end."""

    def __init__(
        self,
        plan: Plan,
        limits: Limits,
        config: RunConfig,
        folder: Path,
        display: Display,
        wan: Wan | None,
        liar: tuple[str, ...] | None,
    ) -> None:
        self._plan = plan
        self._limits = limits
        self._display = display
        self._liars = {plan.peers - 1} if liar else set[int]()
        programs = dict.fromkeys(self._liars, liar or ())
        self._cast = Cast(plan, config, folder, wan, programs)
        self._gauge = Gauge()
        self._problems: list[str] = []
        self._last_round = -1
        self._round_s = self._began_s = 0.0
        self.longest_gap_s = 0.0

    def run(self) -> Report:
        """Start-up, trouble, calm until all are back, the end, the judgement."""
        peers = self._cast.assemble()
        mischief = self._make_mischief(peers)
        self._began_s = self._round_s = time.monotonic()
        is_interrupted = False
        try:
            self._start_all(peers, mischief)
            self._follow(mischief, self._limits.seconds, is_calm=False)
            self._follow(mischief, 2 * self._limits.stall_s, is_calm=True)
        except KeyboardInterrupt:
            is_interrupted = True
        finally:
            self._display.close()
            mischief.wake_all()
            self._problems += end_all(peers)
            for peer in peers:
                peer.close()
        return make_report(
            [peer for peer in peers if peer.number not in self._liars],
            mischief,
            self._gauge.growth(),
            self._problems,
            self.longest_gap_s,
            time.monotonic() - self._began_s,
            is_interrupted=is_interrupted,
        )

    def _make_mischief(self, peers: list[Peer]) -> Mischief:
        return Mischief(
            self._cast,
            random.Random(self._plan.seed),
            self._limits.every_s,
            most_away=max(1, (self._plan.peers - 1) // 3),
            most_peers=self._limits.most_peers,
            spared=peers[min(_SPARED, len(peers) - 1)],
            liars=self._liars,
        )

    def _start_all(self, peers: list[Peer], mischief: Mischief) -> None:
        """The first peer, then the others; until everyone has seen a round close."""
        first, *others = peers
        self._cast.start(first)
        while not first.tally.addresses and not self._problems:
            self._tick(mischief)
        for peer in others:
            self._cast.start(peer)
        while not all(peer.tally.is_in_step for peer in peers) and not self._problems:
            self._tick(mischief)

    def _follow(self, mischief: Mischief, seconds: float, *, is_calm: bool) -> None:
        """Until the time is over, something is wrong, or, in the calm, all are back."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not self._problems:
            trouble = mischief.turn(time.monotonic(), is_calm)
            if trouble is not None:
                name = short_id(trouble.peer.tally.peer)
                self._display.say(f"peer {trouble.peer.number} ({name}): {trouble.kind.value}")
            self._tick(mischief)
            if is_calm and not mischief.open:
                return
            self._look_for_the_lost(mischief)

    def _tick(self, mischief: Mischief) -> None:
        time.sleep(_TICK_S)
        peers = self._cast.peers
        for peer in peers:
            if peer.update():
                self._on_end(peer, mischief)
        now_s = time.monotonic()
        spared = mischief.spared
        if spared.is_up:
            self._gauge.read(spared.pid, now_s)
        self._look_for_rounds(now_s)
        self._display.show(peers, now_s - self._began_s)

    def _on_end(self, peer: Peer, mischief: Mischief) -> None:
        if peer.number in mischief.leaving and peer.exit_code in (0, _INTERRUPTED):
            return
        self._problems.append(
            f"peer {peer.number} ended with exit code {peer.exit_code}: {peer.last_words()}"
        )

    def _look_for_rounds(self, now_s: float) -> None:
        newest = max((peer.tally.last_round or 0) for peer in self._cast.peers)
        if self._last_round > 0:  # from the first round on
            self.longest_gap_s = max(self.longest_gap_s, now_s - self._round_s)
        if newest > self._last_round:
            self._last_round, self._round_s = newest, now_s
        elif now_s - self._round_s >= self._limits.stall_s:
            where = laggards(self._cast.peers)
            self._problems.append(f"no round closed for {self._limits.stall_s:g} s: {where}")

    def _look_for_the_lost(self, mischief: Mischief) -> None:
        now_s, limit_s = time.monotonic(), 2 * self._limits.stall_s
        for trouble in mischief.open:
            if now_s - trouble.began_s >= limit_s:
                self._problems.append(
                    f"peer {trouble.peer.number}, {trouble.kind.value}, was not back within "
                    f"{limit_s:g} s: {laggards([trouble.peer])}"
                )
