"""Starts the peers, lets them run, disturbs them if asked to, and ends them, whatever happens."""

from __future__ import annotations

import random
import time
from pathlib import Path

from wan_emulation.wan import Wan

from localnet_parts.cast import Cast
from localnet_parts.display import Display, laggards
from localnet_parts.outcome import Outcome, judge
from localnet_parts.peer import Peer, end_all
from localnet_parts.plan import Plan
from psyche_p2p.config import RunConfig
from psyche_p2p.ids import short_id

_TICK_S = 0.1


class Supervisor:
    """One network, from its first peer's start to its last peer's end."""

    def __init__(
        self, plan: Plan, config: RunConfig, folder: Path, display: Display, wan: Wan | None
    ) -> None:
        self._plan = plan
        self._display = display
        self._cast = Cast(plan, config, folder, wan)
        self._random = random.Random(plan.seed)
        self._problems: list[str] = []
        self._began_s = self._progressed_s = self._next_kill_s = 0.0
        self._progress: tuple[int, ...] = ()
        self.peers: list[Peer] = []

    def run(self, rounds_wanted: int) -> Outcome:
        """Run the network to its end, or until it is interrupted, and judge it."""
        self._began_s = self._progressed_s = time.monotonic()
        is_interrupted = False
        self.peers = self._cast.assemble()
        try:
            self._cast.start(self.peers[0])
            while not self._is_over():
                self._turn()
                time.sleep(_TICK_S)
        except KeyboardInterrupt:
            is_interrupted, rounds_wanted = True, 0
        finally:
            self._display.close()
            self._problems += end_all(self.peers)
            for peer in self.peers:
                peer.close()
        seconds = time.monotonic() - self._began_s
        return judge(self.peers, self._problems, rounds_wanted, seconds, is_interrupted)

    def _is_over(self) -> bool:
        if self._problems:
            return True
        limit_s = self._plan.exit_after_s
        if limit_s is not None and time.monotonic() - self._began_s >= limit_s:
            return True
        return all(peer.exit_code == 0 for peer in self.peers)

    def _turn(self) -> None:
        for peer in self.peers:
            if peer.update():
                self._on_end(peer)
        if self.peers[0].tally.addresses:
            for peer in self.peers:
                if not peer.is_up and peer.exit_code is None:
                    self._cast.start(peer)
        self._look_for_progress()
        self._kill_one_if_due()
        self._display.show(self.peers, time.monotonic() - self._began_s)

    def _on_end(self, peer: Peer) -> None:
        if peer.exit_code != 0:
            words = peer.last_words()
            self._problems.append(
                f"peer {peer.number} ended with exit code {peer.exit_code}: {words}"
            )
        elif peer.tally.finished_at is None:
            self._problems.append(f"peer {peer.number} ended before the run was finished")

    def _look_for_progress(self) -> None:
        """Give up if nothing that leads to the end has happened for long."""
        tallies = [peer.tally for peer in self.peers]
        progress = (
            sum(tally.has_started for tally in tallies),
            sum(bool(tally.run_id) for tally in tallies),
            sum(tally.has_trained for tally in tallies),
            max(tally.last_round or 0 for tally in tallies),
            max(tally.param_round or 0 for tally in tallies),
            sum(peer.exit_code == 0 for peer in self.peers),
        )
        now_s = time.monotonic()
        if progress != self._progress:
            self._progress, self._progressed_s = progress, now_s
        elif now_s - self._progressed_s >= self._plan.give_up_after_s:
            self._problems.append(
                f"no progress for {self._plan.give_up_after_s:g} s: {laggards(self.peers)}"
            )

    def _kill_one_if_due(self) -> None:
        """Kill a random peer and start it again, once all have come back from the last time."""
        every_s, now_s = self._plan.kill_every_s, time.monotonic()
        if every_s is None or not all(p.is_up and p.tally.is_in_step for p in self.peers):
            return
        if any(peer.tally.finished_at is not None for peer in self.peers):
            return
        if self._next_kill_s == 0.0:
            self._next_kill_s = now_s + every_s
        if now_s < self._next_kill_s:
            return
        self._next_kill_s = now_s + every_s
        peer = self._random.choice(self.peers)
        self._display.say(f"killing peer {peer.number} ({short_id(peer.tally.peer)})")
        peer.kill()
        peer.kills += 1
        self._cast.start(peer)
