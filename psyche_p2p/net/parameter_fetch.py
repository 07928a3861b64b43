"""A newcomer's parameters: the newest that most peers offer, from all of them at once.

An offer is a claim. That the blob is what its hash says is checked chunk by chunk on the way; that
it holds the parameters of that round only whoever has verified the log can say, and says it before
the blob is accepted. Otherwise the next offer is tried.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from psyche_p2p.blobs import BlobError
from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import BlobHash, PeerId, Tier, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.description import Description
from psyche_p2p.net.download import FetchProgress, OnProgress
from psyche_p2p.net.sources import SourceBook
from psyche_p2p.net.swarm import Swarm
from psyche_p2p.wire.bulk import ParameterOffer

_log = get_logger(__name__)
FindFault = Callable[[ParameterOffer], str | None]
"""Why the blob of an offer, now in the store, does not hold what the log says; None if it does.

Called in a thread, because it reads and hashes the whole model.
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Parameters of a tier, after a number of rounds for which the log names their root.

    What nobody could check yet is left alone: to refuse it would be to accuse an honest peer.
    """

    tier: Tier
    rounds: Container[int]


@dataclass(frozen=True, slots=True)
class FetchedParameters:
    """What was fetched and found good; the blob is in the swarm's store."""

    offer: ParameterOffer
    sources: tuple[PeerId, ...]
    """Who gave at least one chunk; empty if the blob was here already."""
    seconds: float


@dataclass(frozen=True, slots=True)
class RefusedOffer:
    """An offer whose blob holds something else than it says."""

    fault: str
    makers: frozenset[PeerId]


class ParameterFetcher:
    """Remembers which offers were no good, and who made them, from one attempt to the next."""

    def __init__(self, swarm: Swarm, find_fault: FindFault, stall_s: float = 30.0) -> None:
        self._swarm = swarm
        self._find_fault = find_fault
        self._stall_s = stall_s
        self.refused: dict[ParameterOffer, RefusedOffer] = {}

    async def fetch(
        self,
        descriptions: Sequence[Description],
        wanted: Wanted,
        on_progress: OnProgress | None = None,
    ) -> FetchedParameters:
        """Parameters that `find_fault` accepts.

        A StorageError if the disk refuses; Unavailable, with what became of every offer and who
        made it, if none of them can be had.
        """
        problems = []
        begun = await asyncio.to_thread(self._swarm.store.incomplete)
        for offer in self._choose(descriptions, wanted, frozenset(begun)):
            donors = [one.contact for one in descriptions if offer in one.offers]
            try:
                return await self._fetch(offer, donors, on_progress)
            except (Unavailable, BlobError) as error:
                names = ", ".join(short_id(contact.peer) for contact in donors)
                problems.append(f"after {offer.param_round} rounds from {names}: {error.cause}")
                _log.warning("offer failed", rounds=offer.param_round, of=names, cause=error.cause)
        cause = "; ".join(problems) or f"none of the {len(descriptions)} peers asked has any of use"
        raise Unavailable(
            f"parameters of tier {wanted.tier}: {cause}",
            "ask again: peers make newer ones when asked",
        )

    def _choose(
        self, descriptions: Sequence[Description], wanted: Wanted, begun: Container[BlobHash]
    ) -> Sequence[ParameterOffer]:
        """The offers of use, best first.

        One that is partly here and still offered by somebody who never misled us: whoever is slower
        than the others make snapshots would otherwise begin again and again. Then what most such
        peers made, then the newest.
        """
        misleading = frozenset[PeerId]().union(*(one.makers for one in self.refused.values()))
        support: dict[ParameterOffer, set[PeerId]] = {}
        for description in descriptions:
            peer = description.contact.peer
            for offer in description.offers:
                if offer.tier == wanted.tier and offer.param_round in wanted.rounds:
                    support.setdefault(offer, set()).add(peer)

        def rank(offer: ParameterOffer) -> tuple[bool, int, int]:
            makers = len(support[offer] - misleading)
            return makers > 0 and offer.blob_hash in begun, makers, offer.param_round

        return sorted(support, key=rank, reverse=True)

    async def _fetch(
        self,
        offer: ParameterOffer,
        donors: Sequence[Contact],
        on_progress: OnProgress | None,
    ) -> FetchedParameters:
        if offer in self.refused:
            raise Unavailable(self.refused[offer].fault)
        donated = _Donation(donors, self._swarm.book, self._stall_s, on_progress)
        begun_at = donated.moved_at
        # However long it takes, as long as chunks come: a slow line is not a reason to give up.
        await self._swarm.fetch(
            offer.blob_hash, donated.find_sources, donated.on_progress, deadline_s=math.inf
        )
        fault = await self._judge(offer)
        if fault is not None:
            makers = frozenset(donor.peer for donor in donors)
            self.refused[offer] = RefusedOffer(fault, makers)
            raise Unavailable(fault)
        seconds = asyncio.get_running_loop().time() - begun_at
        return FetchedParameters(offer, tuple(sorted(donated.sources)), seconds)

    async def _judge(self, offer: ParameterOffer) -> str | None:
        manifest = await asyncio.to_thread(self._swarm.store.manifest, offer.blob_hash)
        if manifest.size_bytes != offer.size_bytes:
            return f"the blob has {manifest.size_bytes} bytes, not the {offer.size_bytes} offered"
        return await asyncio.to_thread(self._find_fault, offer)


class _Donation:
    """One blob and those who offer it, until nobody of them can be expected to give more."""

    def __init__(
        self,
        donors: Sequence[Contact],
        book: SourceBook,
        stall_s: float,
        on_progress: OnProgress | None,
    ) -> None:
        self._donors = donors
        self._book = book
        self._stall_s = stall_s
        self._on_progress = on_progress
        self.sources: set[PeerId] = set()
        self.moved_at = asyncio.get_running_loop().time()

    async def find_sources(self) -> Sequence[Contact]:
        """Those who have not lied; Unavailable if there are none, or nothing came for long."""
        honest = [one for one in self._donors if one.peer not in self._book.liars]
        still_s = asyncio.get_running_loop().time() - self.moved_at
        if not honest or still_s > self._stall_s:
            reasons = [
                f"peer {short_id(one.peer)}: {self._book.explain(one.peer)}" for one in self._donors
            ]
            raise Unavailable("; ".join(reasons))
        return honest

    def on_progress(self, progress: FetchProgress) -> None:
        """A chunk came."""
        self.moved_at = asyncio.get_running_loop().time()
        self.sources.add(progress.source)
        if self._on_progress is not None:
            self._on_progress(progress)
