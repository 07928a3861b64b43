"""Which parameters this peer offers to newcomers, and which they asked for.

A snapshot costs a copy of the model, so it is made only when somebody wants it, and stays offered
until two newer ones of its tier are there: a download that takes longer than one snapshot's life
can still end.
"""

from __future__ import annotations

from collections import deque

from psyche_p2p.clock import Clock
from psyche_p2p.ids import BlobHash, RoundIndex, Tier
from psyche_p2p.wire.bulk import ParameterOffer

KEPT_PER_TIER = 2
_REMEMBERED = 64
WANTED_FOR_S = 60.0


class ParameterOffers:
    """One peer's offers; every member that has the same parameters makes the same blob of them."""

    def __init__(self, clock: Clock, wanted_for_s: float = WANTED_FOR_S) -> None:
        self._clock = clock
        self._wanted_for_s = wanted_for_s
        self._offers: dict[Tier, tuple[ParameterOffer, ...]] = {}
        self._asked_at: dict[Tier, float] = {}
        self._made: deque[BlobHash] = deque(maxlen=_REMEMBERED)

    def offer(self, new: ParameterOffer) -> tuple[ParameterOffer, ...]:
        """Offer a blob that is in the store; the offers it replaces, whose blobs may go."""
        self._made.append(new.blob_hash)
        others = [one for one in self._offers.get(new.tier, ()) if one != new]
        newest_first = sorted([new, *others], key=lambda one: one.param_round, reverse=True)
        self._offers[new.tier] = tuple(newest_first[:KEPT_PER_TIER])
        return tuple(
            one for one in newest_first[KEPT_PER_TIER:] if not self.is_public(one.blob_hash)
        )

    def withdraw(self, blob_hash: BlobHash) -> None:
        """Offer a blob no longer: it was damaged, or belongs to a branch that was left."""
        for tier, offers in self._offers.items():
            self._offers[tier] = tuple(one for one in offers if one.blob_hash != blob_hash)

    def current(self) -> tuple[ParameterOffer, ...]:
        """Every offer, by tier, the newest of each first."""
        return tuple(one for tier in sorted(self._offers) for one in self._offers[tier])

    def newest_round(self, tier: Tier) -> RoundIndex | None:
        """Of which round the newest parameters on offer are."""
        offers = self._offers.get(tier)
        return offers[0].param_round if offers else None

    def is_public(self, blob_hash: BlobHash) -> bool:
        """Whether strangers may fetch this blob."""
        return any(one.blob_hash == blob_hash for one in self.current())

    def was_made(self, blob_hash: BlobHash) -> bool:
        """Whether this blob is or was on offer: who began to fetch it may still be at it."""
        return blob_hash in self._made

    def note_wanted(self, tier: Tier) -> None:
        """Somebody asked for parameters of this tier."""
        self._asked_at[tier] = self._clock.monotonic_s()

    def wanted_tiers(self) -> frozenset[Tier]:
        """The tiers that somebody asked for lately."""
        since = self._clock.monotonic_s() - self._wanted_for_s
        return frozenset(tier for tier, asked_at in self._asked_at.items() if asked_at >= since)
