"""Hurts peers at random, never more at once than agreement has to bear."""

from __future__ import annotations

import random
from collections.abc import Sequence

from localnet_parts.cast import Cast
from localnet_parts.peer import Peer

from soak_parts.trouble import Kind, Trouble, kill_part, stop, wake

_AWAY_S = (2.0, 12.0)
"""How long a peer is stopped, or stays away after it withdrew."""
_DEAD_S = (0.0, 5.0)
_MOST_NEWCOMERS = 1
_DRAWN = {
    Kind.KILL_NODE: 4,
    Kind.KILL_TRAINER: 2,
    Kind.KILL_DAEMON: 2,
    Kind.STOP: 2,
    Kind.WITHDRAW: 2,
    Kind.JOIN: 2,
}


class Mischief:
    """Draws who is hurt, how, and brings back whoever was away long enough.

    One peer's node is spared (its trainer and its daemon are not): it lives as long as the
    network, so that its memory can be watched. A newcomer that has come in leaves for good when
    the next one is due.
    """

    def __init__(
        self,
        cast: Cast,
        source: random.Random,
        every_s: float,
        most_away: int,
        most_peers: int,
        spared: Peer,
        liars: set[int],
    ) -> None:
        self._cast = cast
        self._random = source
        self._every_s = every_s
        self._most_away = most_away
        self._most_peers = most_peers
        self.spared = spared
        self._liars = liars
        self._next_s: float | None = None
        self._founders = len(cast.peers)
        self.leaving: set[int] = set()
        """The numbers of those whose process was asked to end."""
        self.troubles: list[Trouble] = []
        self.postponed = 0
        """How often there was no one who could be hurt when it was time."""

    @property
    def open(self) -> list[Trouble]:
        """Those whose peer is not back."""
        return [trouble for trouble in self.troubles if trouble.back_s is None]

    def turn(self, now_s: float, is_calm: bool) -> Trouble | None:
        """Bring back whom it is time for, and hurt someone if that is due; whom, if anyone."""
        for trouble in self.open:
            if trouble.freed_s is None and now_s >= trouble.over_s:
                self._free(trouble, now_s)
            trouble.look(now_s)
        if self._next_s is None:
            self._next_s = now_s + self._every_s
        if is_calm or now_s < self._next_s:
            return None
        self._next_s = now_s + self._every_s
        if sum(trouble.is_away for trouble in self.open) >= self._most_away:
            self.postponed += 1
            return None
        return self._begin_one(now_s)

    def wake_all(self) -> None:
        """Nothing stands still any more, so that it can be asked to leave."""
        for trouble in self.troubles:
            wake(trouble)

    def _begin_one(self, now_s: float) -> Trouble | None:
        kind = self._random.choices(list(_DRAWN), list(_DRAWN.values()))[0]
        if kind is Kind.JOIN:
            return self._join(now_s) if len(self._cast.peers) < self._most_peers else None
        able = [peer for peer in self._well() if kind not in self._forbidden(peer)]
        if not able:
            self.postponed += 1
            return None
        trouble = Trouble(kind, self._random.choice(able), now_s, now_s)
        self._hurt(trouble)
        self.troubles.append(trouble)
        return trouble

    def _well(self) -> Sequence[Peer]:
        unwell = {trouble.peer.number for trouble in self.open}
        return [
            peer
            for peer in self._cast.peers
            if peer.is_up and peer.tally.is_in_step and peer.number not in unwell
        ]

    def _forbidden(self, peer: Peer) -> set[Kind]:
        """The liar is in trouble as it is: nobody could tell whether it is back."""
        if peer.number in self._liars:
            return set(Kind)
        return {Kind.KILL_NODE, Kind.WITHDRAW} if peer is self.spared else set()

    def _hurt(self, trouble: Trouble) -> None:
        peer = trouble.peer
        match trouble.kind:
            case Kind.KILL_NODE:
                trouble.over_s += self._random.uniform(*_DEAD_S)
                peer.kill()
                peer.kills += 1
            case Kind.KILL_TRAINER:
                kill_part(trouble, "trainer")
            case Kind.KILL_DAEMON:
                kill_part(trouble, "daemon")
            case Kind.STOP:
                trouble.over_s += self._random.uniform(*_AWAY_S)
                stop(trouble)
            case Kind.WITHDRAW:
                trouble.over_s += self._random.uniform(*_AWAY_S)
                self.leaving.add(peer.number)
                peer.interrupt()
            case Kind.JOIN:
                self._cast.start(peer)

    def _join(self, now_s: float) -> Trouble | None:
        """A newcomer that has never been here; the one before it goes."""
        newcomers = [peer for peer in self._cast.peers[self._founders :] if peer.is_up]
        well = self._well()
        if len(newcomers) >= _MOST_NEWCOMERS:
            leaver = newcomers[0]
            if leaver not in well:
                self.postponed += 1
                return None
            self.leaving.add(leaver.number)
            leaver.interrupt()
        trouble = Trouble(
            Kind.JOIN,
            self._cast.add(self._random.choice(self._cast.peers).tally.tier),
            now_s,
            now_s,
        )
        self._hurt(trouble)
        self.troubles.append(trouble)
        return trouble

    def _free(self, trouble: Trouble, now_s: float) -> None:
        peer = trouble.peer
        if trouble.kind is Kind.STOP:
            wake(trouble)
        elif trouble.kind is Kind.WITHDRAW and peer.is_up:
            return  # it is still leaving
        elif not peer.is_up:
            self.leaving.discard(peer.number)
            self._cast.start(peer)
        trouble.freed_s = now_s
        trouble.round = max(one.tally.last_round or 0 for one in self._cast.peers)
