"""The peer's side of the bulk plane: its two servers, its two clients, its store and downloads."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from functools import partial

from typing_extensions import Self

from psyche_p2p.blobs import BlobStore
from psyche_p2p.certificate import TlsCertificate
from psyche_p2p.clock import Clock
from psyche_p2p.config import RunConfig, canonical_bytes, run_id
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.ids import Height, RunId, Tier
from psyche_p2p.model.schema import encode_schema, model_schema
from psyche_p2p.net.bulk_client import BulkClient, Patience
from psyche_p2p.net.bulk_server import BulkServer, ServerLimits
from psyche_p2p.net.callers import AddressGate, MemberGate
from psyche_p2p.net.chunk_cache import ChunkCache
from psyche_p2p.net.dial_back import DialBack, JoinedServices, dial_back_service
from psyche_p2p.net.handlers import CallWrapper
from psyche_p2p.net.limits import CallLimits, Pace, Turnstile
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.net.relay.client import LocalDoors, RelayUser
from psyche_p2p.net.relay.detours import Detours
from psyche_p2p.net.relay.paths import RelayPaths
from psyche_p2p.net.services import CACHED_BYTES, Log, Statements, joiner_service, member_service
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.net.swarm import Swarm, SwarmLimits
from psyche_p2p.net.tls import MemberTrust, joiner_server_credentials, member_server_credentials
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.node.options import Listen
from psyche_p2p.wire import DecidedBlock, encode
from psyche_p2p.wire.bulk import RunDescription

FETCH_DEADLINE_S = 60.0
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_JOINER_LIMITS = CallLimits(calls_per_s=50.0, concurrent_calls=8, total_calls=64)


class Told:
    """What this peer tells of its run: the configuration, and the rest as soon as it knows it."""

    def __init__(self, config: RunConfig, offers: ParameterOffers) -> None:
        self._config = config
        self._offers = offers
        self.head: LogHead | None = None
        self.log: Log | None = None
        self.height = Height(0)
        self.manifest = b""
        """Of our training data, encoded; empty while we have none."""
        self.model_schema = model_schema(config.model)

    @property
    def run_id(self) -> RunId:
        return run_id(self._config)

    def data_files(self) -> bytes:
        return self.manifest

    def schema(self) -> bytes:
        return encode_schema(self.model_schema)

    def describe(self, wanted: Tier | None) -> RunDescription:
        if wanted is not None:
            self._offers.note_wanted(wanted)
        head = self.head
        founding = head.founding if head is not None else None
        return RunDescription(
            config=canonical_bytes(self._config),
            genesis=None if head is None else encode(head.genesis),
            founding=None if founding is None else encode(founding),
            height=self.height,
            offers=self._offers.current(),
        )

    def blocks(self, first: Height, count: int) -> list[DecidedBlock]:
        """The decided blocks, once there are any."""
        return [] if self.log is None else list(self.log.blocks(first, count))


class BulkPlane:
    """Serves and fetches while it is entered."""

    def __init__(
        self,
        listen: Listen,
        user: RelayUser,
        own: TlsCertificate,
        trust: MemberTrust,
        store: BlobStore,
        told: Told,
        offers: ParameterOffers,
        statements: Statements,
        max_blob_bytes: int,
        clock: Clock,
        meter: TrafficMeter,
        parameters_bytes_per_s: float = math.inf,
    ) -> None:
        shelf = Shelf(store)
        pace = Pace(parameters_bytes_per_s, offers.was_made)
        self._host = listen.host
        self._detours = Detours()
        dial_back = DialBack(clock, is_detoured=self._detours.is_one)
        cache = ChunkCache(CACHED_BYTES)  # one for both: what strangers may fetch, members may, too
        member_calls = CallWrapper(MemberGate(trust), Turnstile(CallLimits()), clock, meter)
        joiner_calls = CallWrapper(AddressGate(), Turnstile(_JOINER_LIMITS), clock, meter)
        self.members = BulkServer(
            (listen.members,),
            partial(member_server_credentials, own, trust),
            member_service(member_calls, shelf, told, statements, told, cache, pace),
            ServerLimits(),
        )
        joiners = joiner_service(joiner_calls, shelf, told, offers.is_public, told, cache, pace)
        self.joiners = BulkServer(
            (listen.joiners,),
            partial(joiner_server_credentials, own),
            JoinedServices(joiners, dial_back_service(joiner_calls, dial_back)),
            ServerLimits(max_connections=256, max_calls=128),
        )
        self._paths = RelayPaths(user)
        self.client = BulkClient(own, Patience(), meter, self._paths)
        self.joiner_client = BulkClient(None, Patience(), meter, self._paths)
        limits = SwarmLimits(max_blob_bytes, deadline_s=FETCH_DEADLINE_S)
        self.swarm = Swarm(store, shelf, self.client, clock, limits)
        self._stack = AsyncExitStack()

    @property
    def doors(self) -> LocalDoors:
        """Where circuits from a relay end."""
        members, joiners = self.members.ports[0], self.joiners.ports[0]
        host = _LOOPBACK.get(self._host, self._host)
        return LocalDoors(members, joiners, host, self._detours)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            clients = (self._paths, self.client, self.joiner_client)
            for part in (self.members, self.joiners, *clients):
                await stack.enter_async_context(part)
            stack.push_async_callback(self.swarm.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._stack.aclose()
