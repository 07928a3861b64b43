"""Links that delay, lose, repeat and reorder, and a network that falls apart and heals."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from psyche_p2p.sim.loop import EventLoop

_REORDERED_DELAYS = 4
"""A message that is overtaken arrives up to this many link delays late."""


@dataclass(frozen=True, slots=True)
class LinkModel:
    """What every link does to a message."""

    latency_ms: int = 50
    jitter_ms: int = 10
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    bandwidth_bytes_per_ms: int = 12_500


class Network:
    """Carries messages between peers, who are numbers here; counts them and their bytes."""

    def __init__(
        self,
        loop: EventLoop,
        links: LinkModel,
        rng: random.Random,
        deliver: Callable[[int, int, Any], None],
    ) -> None:
        self._loop = loop
        self._links = links
        self._rng = rng
        self._deliver = deliver
        self._side: dict[int, int] = {}
        self._downlink_free_ms: dict[int, int] = {}
        self.loss = links.loss
        self.message_count = 0
        self.byte_count = 0
        self.blob_byte_count = 0

    def split(self, sides: Iterable[Iterable[int]]) -> None:
        """Only peers on the same side reach each other; peers named nowhere form a side too."""
        self._side = {peer: number for number, side in enumerate(sides, 1) for peer in side}

    def heal(self) -> None:
        """Everyone reaches everyone, and links lose no more than they are made to."""
        self._side = {}
        self.loss = self._links.loss

    def is_connected(self, source: int, target: int) -> bool:
        """Whether a message sent now can arrive."""
        return self._side.get(source) == self._side.get(target)

    def send(self, source: int, target: int, message: Any, size_bytes: int) -> None:
        """One message over one link; what has left is delivered whatever happens later."""
        self.message_count += 1
        self.byte_count += size_bytes
        rng = self._rng
        if self._side and not self.is_connected(source, target):
            return
        if self.loss and rng.random() < self.loss:
            return
        self._deliver_later(source, target, message)
        if self._links.duplication and rng.random() < self._links.duplication:
            self._deliver_later(source, target, message)

    def transfer_ends_ms(self, target: int, size_bytes: int) -> int:
        """When a blob requested now will have come down the target's link, after those before."""
        began = max(self._downlink_free_ms.get(target, 0), self._loop.now_ms)
        ends = began + size_bytes // self._links.bandwidth_bytes_per_ms
        self._downlink_free_ms[target] = ends
        self.blob_byte_count += size_bytes
        return ends + 2 * self._links.latency_ms

    def _deliver_later(self, source: int, target: int, message: Any) -> None:
        links, rng = self._links, self._rng
        delay_ms = links.latency_ms + int(rng.random() * (links.jitter_ms + 1))
        if links.reordering and rng.random() < links.reordering:
            delay_ms += int(rng.random() * _REORDERED_DELAYS * links.latency_ms)
        self._loop.call_at(self._loop.now_ms + delay_ms, self._deliver, source, target, message)
