"""A download in virtual time: sources with speeds, delays and faults, driven by the plan alone."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import Identity
from psyche_p2p.ids import PeerId
from psyche_p2p.net.sources import SourceBook
from psyche_p2p.net.swarm_plan import Order, PlanRules, SwarmPlan

CHUNK_BYTES = 1 << 20


@dataclass
class Source:
    """One holder: sends the chunks of its orders one after the other."""

    name: str
    bytes_per_s: float = 10e6
    delay_s: float = 0.05
    chunks: set[int] | None = None
    lies_at: frozenset[int] = frozenset()
    silent_after: int | None = None
    """Sends this many chunks and then nothing, with the connection open."""
    dies_after: int | None = None
    """Sends this many chunks and then fails every call."""
    sent: list[int] = field(default_factory=list)
    free_at: float = 0.0

    @property
    def peer(self) -> PeerId:
        return Identity.from_seed(hash_bytes(self.name.encode())).peer_id


class World:
    """Runs one plan to its end, checking its promises at every step."""

    def __init__(self, chunks: int, sources: list[Source], rules: PlanRules | None = None) -> None:
        self.rules = rules or PlanRules()
        self.book = SourceBook()
        self.plan = SwarmPlan(CHUNK_BYTES, range(chunks), self.book, self.rules)
        self.sources = {source.peer: source for source in sources}
        self.now = 0.0
        self.received: list[int] = []
        self.copies = 0
        self._orders: dict[int, Order] = {}
        self._events: list[tuple[float, int, str, int, int]] = []
        self._tie = count()

    def run(self, until_s: float = 600.0) -> float:
        """Virtual seconds until the blob is complete, or `until_s`."""
        while not self.plan.is_complete and self.now < until_s:
            self._introduce()
            self._place_orders()
            self._advance(until_s)
        return self.now

    def _introduce(self) -> None:
        known = self.plan.sources()
        for peer, source in self.sources.items():
            if peer not in known and self.book.is_usable(peer, self.now):
                self.plan.add_source(peer, source.chunks)

    def _place_orders(self) -> None:
        for order in self.plan.next_orders(self.now):
            source = self.sources[order.source]
            assert source.chunks is None or set(order.chunks) <= source.chunks
            self._orders[order.number] = order
            mine = [one for one in self._orders.values() if one.source == order.source]
            assert len(mine) <= self.rules.orders_per_source
            self._send(order, source)

    def _send(self, order: Order, source: Source) -> None:
        source.free_at = max(source.free_at, self.now + source.delay_s)
        for chunk in order.chunks:
            if source.dies_after is not None and len(source.sent) >= source.dies_after:
                self._at(source.free_at, "fail", order.number, 0)
                return
            if source.silent_after is not None and len(source.sent) >= source.silent_after:
                return
            source.free_at += CHUNK_BYTES / source.bytes_per_s
            source.sent.append(chunk)
            self._at(source.free_at, "chunk", order.number, chunk)
        self._at(source.free_at, "done", order.number, 0)

    def _at(self, time_s: float, what: str, number: int, chunk: int) -> None:
        heapq.heappush(self._events, (time_s, next(self._tie), what, number, chunk))

    def _advance(self, until_s: float) -> None:
        """To the next event, stall or retry."""
        stalls_at = self.plan.next_deadline()
        next_at = self._events[0][0] if self._events else self.now + 0.25
        if stalls_at is not None and stalls_at < next_at:
            self.now = max(self.now, stalls_at)
            for order in self.plan.stalled(self.now):
                self._drop(order.source, "stalled")
            return
        self.now = max(self.now, next_at)
        if self._events:
            _, _, what, number, chunk = heapq.heappop(self._events)
            self._happen(what, number, chunk)

    def _happen(self, what: str, number: int, chunk: int) -> None:
        order = self._orders.get(number)
        if order is None:
            return  # cancelled: what was on its way is thrown away
        if what == "fail":
            self._drop(order.source, "broke off")
        elif what == "done":
            self._orders.pop(number)
            self.plan.close_order(number)
        elif chunk in self.sources[order.source].lies_at:
            self.book.note_lie(order.source, "lied")
            self._drop(order.source, None)
        else:
            self.copies += chunk in self.received
            self.received.append(chunk)
            for useless in self.plan.on_chunk(number, chunk, self.now):
                self._orders.pop(useless, None)

    def _drop(self, peer: PeerId, problem: str | None) -> None:
        if problem is not None:
            self.book.note_failure(peer, problem, self.now)
        for number in self.plan.drop_source(peer):
            self._orders.pop(number, None)
