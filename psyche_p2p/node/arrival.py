"""Tells how a download of parameters comes along: how far it is, and who gave how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from psyche_p2p.clock import Clock
from psyche_p2p.ids import BlobHash, PeerId, RoundIndex
from psyche_p2p.net.description import Description
from psyche_p2p.net.download import FetchProgress
from psyche_p2p.observe import events

TOLD_EVERY_S = 1.0


class Arrival:
    """Takes in the progress of one attempt, blob after blob, and tells of it now and then."""

    def __init__(
        self,
        rounds: Mapping[BlobHash, RoundIndex],
        emit: Callable[[events.Event], None],
        clock: Clock,
    ) -> None:
        self._rounds = rounds
        self._emit = emit
        self._clock = clock
        self._given: dict[BlobHash, Counter[PeerId]] = {}
        self._next_at = 0.0

    def on_progress(self, progress: FetchProgress) -> None:
        """A chunk came: the first and the last are told of, and others once a second."""
        is_first = progress.blob_hash not in self._given
        given = self._given.setdefault(progress.blob_hash, Counter())
        given[progress.source] += 1
        now = self._clock.monotonic_s()
        is_last = progress.chunks_here == progress.chunks_total
        if is_first or is_last or now >= self._next_at:
            self._next_at = now + TOLD_EVERY_S
            self._emit(
                events.ParametersArriving(
                    self._rounds[progress.blob_hash],
                    progress.chunks_here,
                    progress.chunks_total,
                    tuple(sorted(given)),
                    tuple(given[peer] for peer in sorted(given)),
                )
            )


def rounds_offered(descriptions: Iterable[Description]) -> dict[BlobHash, RoundIndex]:
    """Of which round each blob is said to be."""
    return {offer.blob_hash: offer.param_round for one in descriptions for offer in one.offers}
