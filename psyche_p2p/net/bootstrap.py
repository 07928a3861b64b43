"""Finds the way into the swarm through addresses that are known beforehand.

One that works is enough. What is wrong with the others is kept, and told when none works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from psyche_p2p.clock import Clock
from psyche_p2p.errors import ConfigError, PsycheError, ResourceError, Unavailable
from psyche_p2p.ids import PeerId, short_id
from psyche_p2p.net.control import ControlSocket
from psyche_p2p.net.dht import Dht
from psyche_p2p.net.multiaddr import Multiaddr
from psyche_p2p.net.records import CLOCK_TOLERANCE_S


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of trying each address once."""

    reached: tuple[PeerId, ...] = ()
    failures: tuple[PsycheError, ...] = ()
    clock_offsets_s: tuple[float, ...] = field(default=())
    """How far ahead of ours the clock of each reached peer is."""

    @property
    def clock_offset_s(self) -> float:
        """How far we are off: as little as any peer says, so that one liar cannot stop us."""
        return min(self.clock_offsets_s, key=abs, default=0.0)


async def try_addresses(
    control: ControlSocket, dht: Dht, addresses: Sequence[Multiaddr], clock: Clock
) -> Attempt:
    """Connect to every address at once and introduce ourselves to whoever answers."""
    results = await asyncio.gather(
        *(_try_one(control, dht, address, clock) for address in addresses),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, PsycheError):
            raise result
    reached = [result for result in results if isinstance(result, tuple)]
    return Attempt(
        reached=tuple(peer for peer, _ in reached),
        failures=tuple(result for result in results if isinstance(result, PsycheError)),
        clock_offsets_s=tuple(offset for _, offset in reached),
    )


async def _try_one(
    control: ControlSocket, dht: Dht, address: Multiaddr, clock: Clock
) -> tuple[PeerId, float]:
    peer = address.peer
    assert peer is not None, "checked where the operator's addresses are read"
    await control.connect(peer, [address])
    asked_at_s = clock.time_ms() / 1000
    its_time_s = await dht.meet(peer)
    answered_at_s = clock.time_ms() / 1000
    return peer, its_time_s - (asked_at_s + answered_at_s) / 2


def none_reached(failures: Sequence[PsycheError]) -> PsycheError:
    """The one error for a bootstrap list of which nothing works."""
    first = failures[0]
    if len(failures) == 1 and first.cure:
        return first
    kind = ConfigError if all(isinstance(f, ConfigError) for f in failures) else Unavailable
    cause = f"none of {len(failures)} bootstrap addresses can be reached; the first: {first.cause}"
    return kind(
        first.cause if len(failures) == 1 else cause,
        first.cure or "check the network, and ask for present addresses",
    )


def require_clock(attempt: Attempt) -> None:
    """A ResourceError if this machine's clock is not the swarm's."""
    offset_s = attempt.clock_offset_s
    if abs(offset_s) > CLOCK_TOLERANCE_S:
        direction = "behind" if offset_s > 0 else "ahead of"
        peers = ", ".join(short_id(peer) for peer in attempt.reached)
        raise ResourceError(
            f"this machine's clock is {abs(offset_s):.0f} s {direction} the swarm's ({peers})",
            "set it right, for instance with: timedatectl set-ntp true",
        )
