"""Other peers as a source of parameters: fetched from all at once, checked against the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from psyche_p2p.blobs import BlobStore
from psyche_p2p.clock import Clock
from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import PeerId, Tier, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.parameter_fetch import ParameterFetcher, Wanted
from psyche_p2p.net.swarm import Swarm
from psyche_p2p.node.arrival import Arrival, rounds_offered
from psyche_p2p.node.entering import STRAGGLER_S, describe
from psyche_p2p.node.settled import Settled
from psyche_p2p.node.snapshots import find_parameters_fault
from psyche_p2p.observe import events
from psyche_p2p.wire.bulk import ParameterOffer

_log = get_logger(__name__)


class Members(Protocol):
    """Knows whom to ask."""

    def members(self) -> Mapping[PeerId, Contact]:
        """Those who answer us as a member."""


class PeerDonors:
    """The members of the run, who make snapshots when asked."""

    def __init__(
        self,
        config: RunConfig,
        tier: Tier,
        store: BlobStore,
        client: BulkClient,
        swarm: Swarm,
        directory: Members,
        settled: Settled,
        emit: Callable[[events.Event], None],
        clock: Clock,
    ) -> None:
        self._config = config
        self._tier = tier
        self._store = store
        self._client = client
        self._directory = directory
        self._settled = settled
        self._emit = emit
        self._clock = clock
        self._fetcher = ParameterFetcher(swarm, self.find_fault)

    async def fetch(self) -> ParameterOffer:
        """The newest parameters that we can check and whose later updates we know."""
        contacts = list(self._directory.members().values())
        if not contacts:
            raise Unavailable("no member of the run is known that could be asked", "wait a moment")
        run = run_id(self._config)
        told = await describe(self._client, contacts, run, self._tier, straggler_s=STRAGGLER_S)
        first = self._settled.first_round
        agreed = frozenset(index for index in self._settled.agreed_roots if index >= first)
        wanted = Wanted(self._tier, agreed)
        arrival = Arrival(rounds_offered(told), self._emit, self._clock)
        fetched = await self._fetcher.fetch(told, wanted, arrival.on_progress)
        _log.info(
            "parameters fetched",
            rounds=fetched.offer.param_round,
            megabytes=round(fetched.offer.size_bytes / 1e6, 1),
            seconds=round(fetched.seconds, 2),
            sources=",".join(map(short_id, fetched.sources)),
        )
        self._emit(
            events.Resynced(
                fetched.offer.param_round,
                fetched.seconds,
                fetched.offer.size_bytes,
                fetched.sources,
            )
        )
        return fetched.offer

    def find_fault(self, offer: ParameterOffer) -> str | None:
        """Why a blob in our store does not hold what the log says."""
        roots = self._settled.agreed_roots
        return find_parameters_fault(self._store, self._config, offer, roots)
