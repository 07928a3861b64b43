"""Packets between peers behind slow links, on a clock that the caller turns (sans-IO).

A packet waits in its sender's uplink, may be lost, travels, and waits in its receiver's downlink.
Each link serves one packet after the other at its rate and drops what its queue cannot hold. The
downlink is served in the order of arrival there, so a flow from nearby does not wait for packets of
a distant one that were sent earlier.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from wan_emulation.profile import PathProfile

BYTES_PER_MBIT = 125_000
MAX_IN_FLIGHT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """A packet that has arrived."""

    target: int
    packet: bytes
    at_s: float


@dataclass(slots=True)
class Counters:
    """What became of the packets so far."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    """Drawn by lot, as the profile asks."""
    overflowed: int = 0
    """Dropped by a full queue."""


class _Stage(IntEnum):
    AT_DOWNLINK = 0
    AT_TARGET = 1


class Link:
    """One direction of an access link: a rate, and a queue in front of it."""

    __slots__ = ("_bytes_per_s", "_free_at_s", "_queue_s")

    def __init__(self, rate_mbit: float | None, queue_ms: float) -> None:
        self._bytes_per_s = None if rate_mbit is None else rate_mbit * BYTES_PER_MBIT
        self._queue_s = queue_ms / 1000
        self._free_at_s = 0.0

    def pass_through(self, size_bytes: int, now_s: float) -> float | None:
        """When the packet's last byte has left, or None if the queue is full."""
        if self._bytes_per_s is None:
            return now_s
        begin_s = max(now_s, self._free_at_s)
        if begin_s - now_s > self._queue_s:
            return None
        self._free_at_s = begin_s + size_bytes / self._bytes_per_s
        return self._free_at_s


@dataclass(slots=True)
class _Peer:
    profile: PathProfile
    up: Link
    down: Link
    last_arrival_s: dict[int, float] = field(default_factory=dict)
    """By source: later packets of the same source do not overtake."""


class Network:
    """Every peer's link, and the packets on their way between them."""

    def __init__(self, profiles: Sequence[PathProfile], seed: int = 0) -> None:
        self._peers = [
            _Peer(
                profile,
                Link(profile.up_mbit, profile.queue_ms),
                Link(profile.down_mbit, profile.queue_ms),
            )
            for profile in profiles
        ]
        self._random = random.Random(seed)
        self._heap: list[tuple[float, int, _Stage, int, bytes]] = []
        self._sequence = 0
        self._in_flight_bytes = 0
        self.counters = Counters()

    def send(self, source: int, target: int, packet: bytes, now_s: float) -> None:
        """A packet leaves its sender."""
        self.counters.sent += 1
        if self._in_flight_bytes + len(packet) > MAX_IN_FLIGHT_BYTES:
            self.counters.overflowed += 1
            return
        left_s = self._peers[source].up.pass_through(len(packet), now_s)
        if left_s is None:
            self.counters.overflowed += 1
        elif self._is_lost(source, target):
            self.counters.lost += 1
        else:
            self._in_flight_bytes += len(packet)
            arrival_s = self._arrival_s(source, target, left_s)
            self._push(arrival_s, _Stage.AT_DOWNLINK, target, packet)

    def advance(self, now_s: float) -> list[Delivery]:
        """The packets that have arrived by now, in the order of their arrival."""
        deliveries = []
        while self._heap and self._heap[0][0] <= now_s:
            at_s, _, stage, target, packet = heapq.heappop(self._heap)
            if stage is _Stage.AT_DOWNLINK:
                self._enter_downlink(at_s, target, packet)
            else:
                self._in_flight_bytes -= len(packet)
                self.counters.delivered += 1
                deliveries.append(Delivery(target, packet, at_s))
        return deliveries

    def next_deadline(self) -> float | None:
        """When `advance` will have something to do; None while nothing is on its way."""
        return self._heap[0][0] if self._heap else None

    def _enter_downlink(self, at_s: float, target: int, packet: bytes) -> None:
        arrived_s = self._peers[target].down.pass_through(len(packet), at_s)
        if arrived_s is None:
            self._in_flight_bytes -= len(packet)
            self.counters.overflowed += 1
        else:
            self._push(arrived_s, _Stage.AT_TARGET, target, packet)

    def _is_lost(self, source: int, target: int) -> bool:
        """Each end's link loses its half, so that equal links together lose what was asked."""
        survives = (1 - self._peers[source].profile.loss) * (1 - self._peers[target].profile.loss)
        return survives < 1 and self._random.random() >= survives**0.5

    def _arrival_s(self, source: int, target: int, left_s: float) -> float:
        ends = (self._peers[source].profile, self._peers[target].profile)
        jitter_ms = sum(end.jitter_ms for end in ends) / 2
        delay_ms = sum(end.delay_ms for end in ends) / 2
        if jitter_ms:
            delay_ms += self._random.uniform(-jitter_ms, jitter_ms)
        last_s = self._peers[target].last_arrival_s
        arrival_s = max(left_s + delay_ms / 1000, last_s.get(source, 0.0))
        last_s[source] = arrival_s
        return arrival_s

    def _push(self, at_s: float, stage: _Stage, target: int, packet: bytes) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at_s, self._sequence, stage, target, packet))
