"""The whole peer: from an identity and a bootstrap address to a part in a run, and out again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from psyche_p2p.blobs import BlobStore
from psyche_p2p.certificate import TlsCertificate
from psyche_p2p.clock import Clock
from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.consensus import IdentitySigner
from psyche_p2p.coordinator import State
from psyche_p2p.coordinator.heard import Heard
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, PeerId, RunId, SchemaHash, Tier
from psyche_p2p.log import get_logger
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.net.allocator import keep_freed_memory
from psyche_p2p.net.gatekeeper import ACCEPTED, Judgement, ignore
from psyche_p2p.net.gossip import Gossip
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.net.statements import StatementPool
from psyche_p2p.net.tls import MemberTrust
from psyche_p2p.node.beginning import open_log
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.bulk_plane import BulkPlane, Told
from psyche_p2p.node.directory import Directory
from psyche_p2p.node.donors import PeerDonors
from psyche_p2p.node.entering import find_beginning
from psyche_p2p.node.founding_work import FoundingWork
from psyche_p2p.node.home import Home, RunFolder
from psyche_p2p.node.log_store import LogStore
from psyche_p2p.node.network import Network, announce, enter_network, find_config, roles_of
from psyche_p2p.node.options import PeerOptions
from psyche_p2p.node.parameters import Parameters
from psyche_p2p.node.participation import NO_FRONTIER, Circumstances, Participation
from psyche_p2p.node.replay import catch_up, replay_own
from psyche_p2p.node.settled import Settled
from psyche_p2p.node.snapshots import Snapshots
from psyche_p2p.node.supervision import TaskTree
from psyche_p2p.node.timers import Timers
from psyche_p2p.node.trainer_desk import TrainerDesk
from psyche_p2p.node.voice import Voice
from psyche_p2p.node.wal import open_wal
from psyche_p2p.node.witnessing import NoParameters
from psyche_p2p.observe import events
from psyche_p2p.wire import Capabilities, Envelope, Join, PeerRecord, Vote

LINGER_S = 3.0
"""How long a peer whose run is over stays, so that others get the last block from it."""
_log = get_logger(__name__)


class Peer:
    """One peer of one run; `run` is its whole life."""

    def __init__(
        self, options: PeerOptions, clock: Clock, emit: Callable[[events.Event], None]
    ) -> None:
        self._options = options
        self._clock = clock
        self._emit = emit
        self._home = Home(options.home)
        self._heard = Heard()
        self._settled = Settled()
        self._founding: FoundingWork | None = None
        self._participation: Participation | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Take part until the run is finished or `stop` is set; raises what cannot be mended."""
        keep_freed_memory()
        async with AsyncExitStack() as stack:
            stack.enter_context(self._home.locked())
            self._identity = self._home.identity()
            self._own = self._home.certificate(self._identity, self._clock)
            self._timers = Timers(self._clock)
            stack.callback(self._timers.cancel_all)
            self._network = await enter_network(
                stack, self._options, self._identity, self._emit
            )
            self._trust = MemberTrust(self._clock)
            self._config = await find_config(self._network, self._options, self._directory_of)
            self._run_id = run_id(self._config)
            self._emit(events.RunFound(self._run_id.hex(), self._config.run.name))
            await self._open_run(stack)
            await self._live(stack, stop)

    # Entering, one thing after the other

    async def _open_run(self, stack: AsyncExitStack) -> None:
        """Everything that serves the run before there is anything to say in it."""
        config, options = self._config, self._options
        self._folder: RunFolder = self._home.run_folder(self._run_id)
        self._store = BlobStore.open(self._folder.store, options.store_bytes)
        self._offers = ParameterOffers(self._clock)
        self._told = Told(config, self._offers)
        self._schema = schema_hash(model_schema(config.model))
        self._statements = StatementPool(
            self._run_id, self._is_member, NO_FRONTIER, self._dispatch
        )
        self._bulk = await stack.enter_async_context(
            BulkPlane(
                options.listen,
                self._own,
                self._trust,
                self._store,
                self._told,
                self._offers,
                self._statements,
                config.network.max_blob_bytes,
                self._clock,
            )
        )
        self._directory = self._directory_of(self._run_id)
        self._voice = Voice(IdentitySigner(self._identity, self._run_id), self._hear_ourselves)
        self._blobs = BlobDesk(
            config, self._schema, self._store, self._bulk.swarm, self._directory
        )
        self._record = await announce(self._network, options, config, self._bulk, self._own)
        await self._report_started()

    async def _report_started(self) -> None:
        addresses = await self._network.multiaddrs()
        self._emit(
            events.Started(
                self._identity.peer_id,
                self._options.tier or 0,
                "witness" if self._options.is_witness else "trainer",
                addresses,
                self._record.bulk_addresses,
            )
        )
        _log.info("listening", peer=self._identity.peer_id)
        for address in addresses:
            _log.info("others join with", bootstrap=address)

    def _directory_of(self, wanted: RunId) -> Directory:
        async def renew() -> None:
            await self._bulk.members.renew()

        me = self._identity.peer_id
        return Directory(wanted, me, self._network.discovery, self._trust, renew)

    # Living

    async def _live(self, stack: AsyncExitStack, stop: asyncio.Event) -> None:
        desk = await self._start_trainer(stack)
        tree = await stack.enter_async_context(TaskTree())
        gossip = await stack.enter_async_context(
            Gossip(
                self._network.daemon,
                self._identity,
                self._run_id,
                self._judge,
                is_member=self._is_member,
            )
        )
        tree.start("directory", self._directory.run())
        tree.start("voice", self._voice.run(gossip))
        tree.start("listening", self._listen(gossip))
        ended = asyncio.Event()
        tree.start("run", self._take_part(tree, desk, ended))
        tree.start("stop", _forward(stop, ended))
        try:
            await tree.wait(ended)
            await self._end(stop)
        finally:
            if self._participation is not None:
                await self._participation.close()

    async def _take_part(
        self, tree: TaskTree, desk: TrainerDesk | None, ended: asyncio.Event
    ) -> None:
        """Find or found the beginning, catch up with the log, then follow it to the run's end."""
        wal, has_wal = open_wal(self._folder.wal, self._run_id)
        log = await open_log(self._folder, lambda: self._find_head(desk, wal))
        self._told.head, self._told.log = log.head, log
        state = replay_own(log, self._note)
        self._directory.follow(state)
        doors = list(self._directory.open_doors().values())
        if doors:
            state = await catch_up(state, log, self._bulk.joiner_client, doors, self._note)
        has_spoken = state.find_account(self._identity.peer_id) is not None
        participation = Participation(
            self._circumstances(log, wal, has_whole_memory=has_wal or not has_spoken),
            state,
            self._parameters(desk),
        )
        self._participation = participation
        participation.start(tree)
        await participation.finished.wait()
        ended.set()
