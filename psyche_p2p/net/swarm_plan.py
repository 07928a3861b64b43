"""Which chunk to ask of whom: the decisions of a download, without a socket or a clock.

Rarest first, so that the last copy of a chunk is copied before its holder leaves (BitTorrent's
rule, Cohen 2003); the fastest sources choose first, and nobody is given more than its share of what
is left. When all is asked for, idle sources are given the chunks that are expected last a second
time ("endgame"): whichever copy comes first is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from math import ceil

from psyche_p2p.ids import PeerId
from psyche_p2p.net.sources import SourceBook

_UNKNOWN_SPEED = 4 << 20  # bytes a second, of a source not yet measured
_HEDGE_GAIN = 0.7  # ask again only who should be this much sooner


@dataclass(frozen=True, slots=True)
class PlanRules:
    """How much is asked at once, and for how long one waits."""

    orders_per_source: int = 2
    """One being sent and one waiting, so that the line is never idle for a round trip."""
    max_order_chunks: int = 16
    order_s: float = 0.5
    """How much time one order should take, once a source's speed is known."""
    stall_s: float = 5.0
    """A source that sends no chunk for this long, or four times what it usually needs, is slow."""
    copies: int = 2
    """How many sources may be sending the same chunk in the endgame."""


@dataclass(slots=True)
class Order:
    """Chunks asked of a source in one call, in this order."""

    number: int
    source: PeerId
    chunks: tuple[int, ...]
    last_news_at: float
    remaining: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Source:
    chunks: set[int] | None  # None: all of them
    orders: dict[int, Order] = field(default_factory=dict)

    def has(self, chunk: int) -> bool:
        return self.chunks is None or chunk in self.chunks


class SwarmPlan:
    """The state of one download."""

    def __init__(
        self, chunk_bytes: int, missing: Iterable[int], book: SourceBook, rules: PlanRules
    ) -> None:
        self._chunk_bytes = chunk_bytes
        self._book = book
        self._rules = rules
        self._missing = set(missing)
        self._unasked = set(self._missing)
        self._copies: dict[int, int] = {}  # of each chunk that is being sent
        self._sources: dict[PeerId, _Source] = {}
        self._orders: dict[int, Order] = {}
        self._next_number = 0

    @property
    def missing(self) -> frozenset[int]:
        return frozenset(self._missing)

    @property
    def is_complete(self) -> bool:
        return not self._missing

    def has_all(self, peer: PeerId) -> bool:
        """Whether this is a source that holds every chunk."""
        return peer in self._sources and self._sources[peer].chunks is None

    def sources(self) -> list[PeerId]:
        return list(self._sources)

    def add_source(self, peer: PeerId, chunks: Collection[int] | None = None) -> None:
        """A peer holds these chunks, or (None) all of them."""
        held = None if chunks is None else set(chunks)
        if peer in self._sources:
            self._sources[peer].chunks = held
        else:
            self._sources[peer] = _Source(held)

    def drop_source(self, peer: PeerId) -> list[int]:
        """Ask this peer no more; the numbers of its orders, to be cancelled."""
        source = self._sources.pop(peer, None)
        numbers = list(source.orders) if source else []
        for number in numbers:
            self.close_order(number)
        return numbers

    def next_orders(self, now: float) -> list[Order]:
        """What to ask for now."""
        orders: list[Order] = []
        ready = [peer for peer in self._sources if self._book.is_usable(peer, now)]
        for peer in sorted(ready, key=self._speed, reverse=True):
            while len(self._sources[peer].orders) < self._rules.orders_per_source:
                chunks = self._choose(peer) or self._choose_again(peer, now)
                if not chunks:
                    break
                orders.append(self._open_order(peer, chunks, now))
        return orders

    def on_chunk(self, number: int, chunk: int, now: float) -> list[int]:
        """A good chunk came; the numbers of orders that have become useless."""
        order = self._orders.get(number)
        if order is not None:
            self._book.note_speed(order.source, self._chunk_bytes, now - order.last_news_at)
            for waiting in self._sources[order.source].orders.values():
                waiting.last_news_at = now
            if chunk in order.remaining:
                order.remaining.remove(chunk)
        self._missing.discard(chunk)
        self._unasked.discard(chunk)
        self._copies.pop(chunk, None)
        useless = [one.number for one in self._orders.values() if not self._is_useful(one)]
        for one in useless:
            self.close_order(one)
        return useless

    def close_order(self, number: int) -> None:
        """An order ended, well or not; what it did not bring is to be asked for again."""
        order = self._orders.pop(number, None)
        if order is None:
            return
        source = self._sources.get(order.source)
        if source is not None:
            source.orders.pop(number, None)
        for chunk in order.remaining:
            if chunk in self._missing:
                self._copies[chunk] = self._copies.get(chunk, 1) - 1
                if self._copies[chunk] <= 0:
                    del self._copies[chunk]
                    self._unasked.add(chunk)

    def next_deadline(self) -> float | None:
        """When to call `stalled` next."""
        return min((self._stalls_at(order) for order in self._orders.values()), default=None)

    def stalled(self, now: float) -> list[Order]:
        """The orders on which nothing moves; the caller drops their sources."""
        return [order for order in self._orders.values() if self._stalls_at(order) <= now]

    def _choose(self, peer: PeerId) -> tuple[int, ...]:
        """The rarest chunks that nobody was asked for, as many as are this peer's share."""
        source = self._sources[peer]
        candidates = [chunk for chunk in self._unasked if source.has(chunk)]
        size = min(self._order_size(peer), self._share(peer, len(candidates)))
        if all(one.chunks is None for one in self._sources.values()):
            return tuple(nsmallest(size, candidates))
        return tuple(nsmallest(size, candidates, key=lambda chunk: (self._rarity(chunk), chunk)))

    def _choose_again(self, peer: PeerId, now: float) -> tuple[int, ...]:
        """Of the chunks others were asked for, the one expected last, if we may expect a gain."""
        source = self._sources[peer]
        if source.orders:
            return ()
        late = max(
            (
                (self._expected_in_s(order, position, now), -chunk)
                for order in self._orders.values()
                if order.source != peer
                for position, chunk in enumerate(order.remaining)
                if source.has(chunk) and self._may_copy(chunk)
            ),
            default=None,
        )
        if late is None:
            return ()
        is_gain = self._chunk_s(peer) < late[0] * _HEDGE_GAIN
        return (-late[1],) if is_gain else ()

    def _may_copy(self, chunk: int) -> bool:
        return chunk in self._missing and self._copies.get(chunk, 0) < self._rules.copies

    def _open_order(self, peer: PeerId, chunks: tuple[int, ...], now: float) -> Order:
        order = Order(self._next_number, peer, chunks, now, list(chunks))
        self._next_number += 1
        self._orders[order.number] = order
        self._sources[peer].orders[order.number] = order
        for chunk in chunks:
            self._unasked.discard(chunk)
            self._copies[chunk] = self._copies.get(chunk, 0) + 1
        return order

    def _order_size(self, peer: PeerId) -> int:
        known = self._book.of(peer).bytes_per_s
        if known is None:
            return 2
        wanted = int(known * self._rules.order_s / self._chunk_bytes)
        return max(1, min(wanted, self._rules.max_order_chunks))

    def _share(self, peer: PeerId, candidates: int) -> int:
        """No more than lets this source end with the others."""
        total = sum(self._speed(one) for one in self._sources)
        return ceil(candidates * self._speed(peer) / total)

    def _rarity(self, chunk: int) -> int:
        return sum(source.has(chunk) for source in self._sources.values())

    def _speed(self, peer: PeerId) -> float:
        return self._book.of(peer).bytes_per_s or _UNKNOWN_SPEED

    def _chunk_s(self, peer: PeerId) -> float:
        return self._chunk_bytes / self._speed(peer)

    def _expected_in_s(self, order: Order, position: int, now: float) -> float:
        """When a chunk should come; who has been silent for long is expected to be so again."""
        before = sum(
            len(other.remaining)
            for other in self._sources[order.source].orders.values()
            if other.number < order.number
        )
        silent_s = now - order.last_news_at
        return max((before + position + 1) * self._chunk_s(order.source) - silent_s, silent_s)

    def _stalls_at(self, order: Order) -> float:
        return order.last_news_at + max(self._rules.stall_s, 4 * self._chunk_s(order.source))

    def _is_useful(self, order: Order) -> bool:
        return any(chunk in self._missing for chunk in order.remaining)
