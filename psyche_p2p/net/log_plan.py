"""Decides which source is asked for which part of the log, and what to do with what comes (pure).

Blocks arrive in any order and leave in order of height, each checked as it leaves: only then is the
committee known that decided it. A source is not known to have lied before that, so what it gave is
thrown away with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from psyche_p2p.ids import Height, PeerId, short_id
from psyche_p2p.wire import DecidedBlock

RANGE_BLOCKS = 32
WINDOW_BLOCKS = 256
"""So far ahead of the checked part may blocks be kept: 24 MiB of the largest."""
MAX_FAILURES = 3
HEDGE_S = 2.0
"""After so long the block that everything waits for is asked for of another source too."""
END_GRACE_S = 5.0
"""Once somebody said that the log ends, who never answered is not waited for any longer."""
_FIRST_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class LogOrder:
    """Ask this source for these blocks."""

    source: PeerId
    first: Height
    count: int


@dataclass(slots=True)
class _Source:
    order: LogOrder | None = None
    asked_at: float = 0.0
    first_asked_at: float = math.inf
    has_answered: bool = False
    ends_at: Height | None = None
    """The first height that it said it does not have."""
    failures: int = 0
    retry_at: float = 0.0


@dataclass(slots=True)
class LogPlan:
    """One fetch; `now` is any monotonic time in seconds."""

    next_height: Height
    sources: dict[PeerId, _Source]
    dropped: dict[PeerId, str] = field(default_factory=dict)
    _arrived: dict[Height, tuple[PeerId, DecidedBlock]] = field(default_factory=dict)

    @staticmethod
    def begin(first: Height, peers: Iterable[PeerId]) -> LogPlan:
        """To fetch everything from a height on."""
        return LogPlan(first, {peer: _Source() for peer in peers})

    def next_orders(self, now: float) -> list[LogOrder]:
        """What to ask for now: each source for one thing at a time, nothing of two at once.

        But where the block that everything waits for is long in coming, another source is asked for
        it too, so that a slow one holds up nobody.
        """
        orders = []
        for peer, source in self.sources.items():
            if source.order is None and source.retry_at <= now:
                order = self._choose(peer, source, now)
                if order is not None:
                    source.order, source.asked_at = order, now
                    source.first_asked_at = min(source.first_asked_at, now)
                    orders.append(order)
        return orders

    def next_deadline(self, now: float) -> float | None:
        """When there is something to do even if no answer comes; None if there never is."""
        waited_for = self._waited_for(now)
        idle = [
            max(source.retry_at, self._hedge_at()) for source in waited_for if source.order is None
        ]
        given_up = [
            source.first_asked_at + END_GRACE_S
            for source in waited_for
            if self._is_end_known and not source.has_answered
        ]
        return min([*idle, *given_up], default=None)

    def is_over(self, now: float) -> bool:
        """Whether no source is left that may have the next block."""
        return not self._waited_for(now)

    def on_blocks(self, order: LogOrder, blocks: Sequence[DecidedBlock]) -> None:
        """An answer. It has fewer blocks than were asked for only where the source's log ends."""
        source = self.sources.get(order.source)
        if source is None:
            return
        source.order, source.failures, source.has_answered = None, 0, True
        for offset, decided in enumerate(blocks):
            height = Height(order.first + offset)
            if decided.block.height != height:
                found = decided.block.height
                self.drop(order.source, f"sent block {found} in the place of block {height}")
                return
            if height >= self.next_height:
                self._arrived.setdefault(height, (order.source, decided))
        if len(blocks) < order.count:
            source.ends_at = Height(order.first + len(blocks))

    def on_failure(self, peer: PeerId, problem: str, now: float) -> None:
        """It broke off, stalled or was busy: ask it later, and not too often."""
        source = self.sources.get(peer)
        if source is None:
            return
        source.order = None
        source.retry_at = now + _FIRST_RETRY_S * 2.0**source.failures
        source.failures += 1
        if source.failures >= MAX_FAILURES:
            self.drop(peer, problem)

    def drop(self, peer: PeerId, reason: str) -> None:
        """Ask a source for nothing more, and keep nothing of what it gave."""
        if self.sources.pop(peer, None) is not None:
            self.dropped[peer] = reason
        self._arrived = {
            height: (source, decided)
            for height, (source, decided) in self._arrived.items()
            if source != peer
        }

    def peek(self) -> tuple[PeerId, DecidedBlock] | None:
        """The next block in order, with who gave it, if it is here."""
        return self._arrived.get(self.next_height)

    def advance(self) -> None:
        """The next block was good."""
        del self._arrived[self.next_height]
        self.next_height = Height(self.next_height + 1)

    def explain(self) -> str:
        """Why the sources that were dropped were."""
        return "; ".join(f"peer {short_id(peer)}: {why}" for peer, why in self.dropped.items())

    def _choose(self, peer: PeerId, source: _Source, now: float) -> LogOrder | None:
        asked = self._asked_heights()
        window = range(self.next_height, self.next_height + WINDOW_BLOCKS)
        order = self._first_run(peer, source, [h for h in window if h not in asked])
        is_late = self.next_height not in self._arrived and self._hedge_at() <= now
        return self._first_run(peer, source, window) if order is None and is_late else order

    def _first_run(self, peer: PeerId, source: _Source, heights: Sequence[int]) -> LogOrder | None:
        """The first heights in a row, of these, that are not here and that it may have."""
        missing = [height for height in heights if height not in self._arrived]
        if not missing or (source.ends_at is not None and missing[0] >= source.ends_at):
            return None
        first, count = missing[0], 1
        while count < min(RANGE_BLOCKS, len(missing)) and missing[count] == first + count:
            count += 1
        return LogOrder(peer, Height(first), count)

    def _asked_heights(self) -> set[int]:
        orders = [one.order for one in self.sources.values() if one.order is not None]
        return {order.first + offset for order in orders for offset in range(order.count)}

    def _hedge_at(self) -> float:
        """When to ask one more source for the next block: at once if nobody was asked."""
        asked = [
            source.asked_at + HEDGE_S
            for source in self.sources.values()
            if source.order is not None
            and source.order.first <= self.next_height < source.order.first + source.order.count
        ]
        return max(asked, default=0.0)

    def _waited_for(self, now: float) -> list[_Source]:
        return [
            source
            for source in self.sources.values()
            if self._may_have(source)
            and not (
                self._is_end_known
                and not source.has_answered
                and source.first_asked_at + END_GRACE_S <= now
            )
        ]

    @property
    def _is_end_known(self) -> bool:
        """Whether somebody said that there is no next block."""
        return not all(map(self._may_have, self.sources.values()))

    def _may_have(self, source: _Source) -> bool:
        return source.ends_at is None or source.ends_at > self.next_height
