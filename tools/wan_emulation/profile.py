"""What a link is like, and how people write it down: `50ms,0.5%,100mbit`."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_QUEUE_MS = 200.0
MAX_DELAY_MS = 60_000.0
MAX_RATE_MBIT = 100_000.0
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-z%]*)")
_DELAY_UNITS = {"": 1.0, "ms": 1.0, "s": 1000.0}
_LOSS_UNITS = {"": 1.0, "%": 0.01}
_RATE_UNITS = {"": 1.0, "mbit": 1.0, "kbit": 0.001, "gbit": 1000.0}


@dataclass(frozen=True, slots=True)
class PathProfile:
    """What a packet meets, one way, between two peers whose links are both like this."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """The delay varies evenly by up to this much in either direction; packets keep their order."""
    loss: float = 0.0
    """The share of packets that never arrive."""
    up_mbit: float | None = None
    down_mbit: float | None = None
    """None: as fast as this machine."""
    queue_ms: float = DEFAULT_QUEUE_MS
    """How much a link holds back, in time at its rate, before it drops."""
    is_closed: bool = False
    """Nobody can begin a TCP connection with this peer, as behind a router; it can with others."""

    def __post_init__(self) -> None:
        _require(0 <= self.delay_ms <= MAX_DELAY_MS, f"a delay of {self.delay_ms} ms")
        _require(0 <= self.jitter_ms <= self.delay_ms, "a jitter above the delay")
        _require(0 <= self.loss < 1, f"a loss of {self.loss:g} (a share below 1, or a percentage)")
        for rate in (self.up_mbit, self.down_mbit):
            _require(rate is None or 0 < rate <= MAX_RATE_MBIT, f"a rate of {rate} Mbit/s")
        _require(0 < self.queue_ms <= MAX_DELAY_MS, f"a queue of {self.queue_ms} ms")


def parse_profile(text: str, queue_ms: float = DEFAULT_QUEUE_MS) -> PathProfile:
    """`delay[,loss[,rate]]`, as in `50ms,0.5%,100mbit` or `50,0.005,100`; ValueError otherwise."""
    parts = [part.strip().lower() for part in text.split(",")]
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"{text!r} is not delay,loss,rate, like 50ms,0.5%,100mbit")
    delay_ms = _parse(parts[0], _DELAY_UNITS, "delay")
    loss = parse_loss(parts[1]) if len(parts) > 1 else 0.0
    rate = _parse(parts[2], _RATE_UNITS, "rate") if len(parts) > 2 else None
    return PathProfile(
        delay_ms=delay_ms, loss=loss, up_mbit=rate, down_mbit=rate, queue_ms=queue_ms
    )


def parse_loss(text: str) -> float:
    """A share: `0.005` or `0.5%`."""
    return _parse(text, _LOSS_UNITS, "loss")


def _parse(text: str, units: dict[str, float], what: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in units:
        known = ", ".join(unit for unit in units if unit)
        raise ValueError(f"{text!r} is not a {what}: a number, and one of {known} or nothing")
    return float(match[1]) * units[match[2]]


def _require(is_met: bool, what: str) -> None:
    if not is_met:
        raise ValueError(f"{what} is not allowed")
