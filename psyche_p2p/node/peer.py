"""The whole peer: from an identity and a bootstrap address to a part in a run, and out again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from psyche_p2p.blobs import BlobStore
from psyche_p2p.clock import Clock
from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.consensus import IdentitySigner
from psyche_p2p.coordinator import State, require_invited, require_welcome, rules_of
from psyche_p2p.coordinator.heard import Heard
from psyche_p2p.ids import PeerId, RoundIndex, RunId
from psyche_p2p.log import get_logger
from psyche_p2p.model.schema import schema_hash
from psyche_p2p.net.allocator import keep_freed_memory
from psyche_p2p.net.gatekeeper import Judgement
from psyche_p2p.net.gossip import Gossip
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.net.relay.client import RelayUser
from psyche_p2p.net.statements import StatementPool
from psyche_p2p.net.tls import MemberTrust
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.node.beginning import (
    find_beginnings,
    require_checkpoint,
    require_same_beginning,
)
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.bulk_plane import BulkPlane, Told
from psyche_p2p.node.checkpoints import Checkpoints
from psyche_p2p.node.comparison import Comparison
from psyche_p2p.node.directory import Directory
from psyche_p2p.node.donors import PeerDonors
from psyche_p2p.node.entering import find_beginning
from psyche_p2p.node.founding_work import FoundingWork
from psyche_p2p.node.home import Home, RunFolder
from psyche_p2p.node.joining import make_join, next_nonce
from psyche_p2p.node.judging import judge
from psyche_p2p.node.log_store import LogStore
from psyche_p2p.node.network import (
    announce,
    enter_network,
    find_config,
    load_config,
    require_own_run,
    require_supported,
)
from psyche_p2p.node.options import PeerOptions
from psyche_p2p.node.parameters import Parameters
from psyche_p2p.node.participation import NO_FRONTIER, Circumstances, Participation
from psyche_p2p.node.promises import Promises
from psyche_p2p.node.reach import reaching
from psyche_p2p.node.replay import catch_up, replay_own
from psyche_p2p.node.reporting import report_traffic, traffic_event
from psyche_p2p.node.settled import Settled
from psyche_p2p.node.snapshots import Snapshots
from psyche_p2p.node.supervision import TaskTree, finish_unless, forward
from psyche_p2p.node.timers import Timers
from psyche_p2p.node.trainer_desk import TrainerDesk
from psyche_p2p.node.trainer_process import TRAINER
from psyche_p2p.node.trainer_setup import make_setup
from psyche_p2p.node.uploads import Uploader
from psyche_p2p.node.voice import Voice
from psyche_p2p.node.wal import FileWal, open_wal
from psyche_p2p.node.witnessing import NoParameters
from psyche_p2p.observe import events
from psyche_p2p.train.messages import Ready
from psyche_p2p.wire import Envelope, Join

LINGER_S = 3.0
"""How long a peer stays after the run's end, so that others get the last block from it."""
_EARLY = 2048
_log = get_logger(__name__)


class Peer:
    """One peer of one run; `run` is its whole life, in a home that the caller has locked."""

    def __init__(
        self, options: PeerOptions, clock: Clock, emit: Callable[[events.Event], None]
    ) -> None:
        self._options = options
        self._clock = clock
        self._emit = emit
        self._home = Home(options.home)
        self._heard = Heard()
        self._settled = Settled()
        self._uploader = Uploader(options.upload, emit) if options.upload else None
        self._meter = TrafficMeter()
        self._ready: Ready | None = None
        self._founding: FoundingWork | None = None
        self._participation: Participation | None = None
        self._early: deque[Envelope] = deque(maxlen=_EARLY)
        """What came before we took part; gossip would not bring it a second time."""

    async def run(self, stop: asyncio.Event) -> None:
        """Take part until the run is finished or `stop` is set; raises what cannot be mended."""
        keep_freed_memory()
        async with AsyncExitStack() as stack:
            if await finish_unless(stop, self._enter(stack)):
                await self._live(stack, stop)

    # Entering

    async def _enter(self, stack: AsyncExitStack) -> None:
        """Join the network, learn which run it is, and begin to serve it."""
        self._identity = self._home.identity()
        self._own = self._home.certificate(self._identity, self._clock)
        self._timers = Timers(self._clock)
        stack.callback(self._timers.cancel_all)
        run_file = self._options.run_file
        if run_file is not None:
            await self._begin(stack, load_config(run_file, self._options.run))
        self._network = await enter_network(stack, self._options, self._identity, self._emit)
        self._trust = MemberTrust(self._clock)
        if run_file is not None:
            await require_own_run(self._network, self._options, self._directory_of, self._config)
        else:
            await self._begin(
                stack, await find_config(self._network, self._options, self._directory_of)
            )
        self._emit(events.RunFound(self._run_id.hex(), self._config.run.name))
        await self._open_run(stack)

    async def _begin(self, stack: AsyncExitStack, config: RunConfig) -> None:
        """The run is known: its trainer loads while the network is entered."""
        require_supported(config)
        require_invited(rules_of(config), self._identity.peer_id)
        self._config = config
        self._run_id = run_id(config)
        self._user = RelayUser(self._identity, self._run_id)
        self._folder: RunFolder = self._home.run_folder(self._run_id)
        self._desk = await self._start_trainer(stack)

    async def _open_run(self, stack: AsyncExitStack) -> None:
        """Everything that serves the run before there is anything to say in it."""
        config, options = self._config, self._options
        self._store = BlobStore.open(self._folder.store, options.store_bytes)
        self._offers = ParameterOffers(self._clock)
        self._told = Told(config, self._offers)
        self._schema = schema_hash(self._told.model_schema)
        self._statements = StatementPool(self._run_id, self._is_member, NO_FRONTIER, self._dispatch)
        self._bulk = await stack.enter_async_context(
            BulkPlane(
                options.listen,
                self._user,
                self._own,
                self._trust,
                self._store,
                self._told,
                self._offers,
                self._statements,
                config.network.max_blob_bytes,
                self._clock,
                self._meter,
                options.parameters_bytes_per_s,
            )
        )
        self._bulk.swarm.book.on_lie = lambda peer, what: self._emit(events.Accused(peer, what))
        self._directory = self._directory_of(self._run_id)
        self._comparison = Comparison(self._told, self._bulk.joiner_client, self._directory)
        self._directory.on_moved.append(self._bulk.swarm.book.forgive)
        self._voice = Voice(
            IdentitySigner(self._identity, self._run_id),
            Promises.open(self._folder.promises),
            self._take_in,
            self._statements.add,
        )
        self._blobs = BlobDesk(config, self._schema, self._store, self._bulk.swarm, self._directory)
        self._record = await announce(
            self._network, options, config, self._bulk, self._own, self._emit
        )

    def _directory_of(self, wanted: RunId) -> Directory:
        async def renew() -> None:
            await self._bulk.members.renew()

        me = self._identity.peer_id
        return Directory(wanted, me, self._network.discovery, self._trust, renew)

    # Living

    async def _live(self, stack: AsyncExitStack, stop: asyncio.Event) -> None:
        tree = await stack.enter_async_context(TaskTree())
        self._timers.on_failure = tree.fail
        gossip = await stack.enter_async_context(
            Gossip(
                self._network.daemon,
                self._identity,
                self._run_id,
                self._judge,
                is_member=self._is_member,
                meter=self._meter,
            )
        )
        tree.start("directory", self._directory.run())
        tree.start("voice", self._voice.run(gossip))
        tree.start("listening", self._listen(gossip))
        tree.start("traffic", report_traffic(self._meter, self._emit))
        parts = (self._network.discovery, self._directory, self._bulk, self._own)
        tree.start("reach", reaching(self._options, self._user, self._record, *parts))
        ended = asyncio.Event()
        tree.start("run", self._take_part(tree, ended))
        tree.start("stop", forward(stop, ended))
        if self._uploader is not None:
            tree.start("uploads", self._uploader.run())
        try:
            await tree.wait(ended)
            await self._end(stop)
        finally:
            self._emit(traffic_event(self._meter))
            if self._participation is not None:
                await self._participation.close()

    async def _take_part(self, tree: TaskTree, ended: asyncio.Event) -> None:
        """Find or found the beginning, catch up with the log, then follow it to the run's end."""
        self._ready = await self._await_trainer()
        wal, has_wal = open_wal(self._folder.wal, self._run_id)
        log = await self._open_log(wal)
        self._told.head, self._told.log = log.head, log
        state = replay_own(log, self._settled.on_state)
        require_welcome(state, self._identity.peer_id)
        await require_same_beginning(
            log.head, self._config, self._ready, self._schema, self._comparison
        )
        self._directory.follow(state)
        await self._directory.look_patiently()
        doors = list(self._directory.open_doors().values())
        if doors:
            client = self._bulk.joiner_client
            state = await catch_up(state, log, client, doors, self._settled.on_state)
            self._directory.follow(state)
        require_welcome(state, self._identity.peer_id)
        is_whole = has_wal or bool(wal.load()) or not self._may_have_voted(state)
        around = self._circumstances(log, wal, has_whole_memory=is_whole)
        participation = Participation(around, state, self._parameters(log))
        self._participation = participation
        self._founding = None
        participation.start(tree)
        while self._early:
            participation.on_envelope(self._early.popleft())
        await participation.finished.wait()
        ended.set()

    async def _open_log(self, wal: FileWal) -> LogStore:
        """The run's log on this disk; if there is none, the one that the run begins with."""
        if self._folder.log.exists():
            return LogStore.open(self._folder.log)
        self._founding = FoundingWork(
            self._config,
            IdentitySigner(self._identity, self._run_id),
            lambda: self._make_join(None),
            lambda: find_beginnings(self._config, self._ready, self._schema),
            self._voice,
            wal,
            self._timers,
            lambda: find_beginning(self._bulk.joiner_client, self._directory, self._run_id),
            self._comparison.explain,
        )
        for envelope in self._early:  # said while our trainer was loading
            self._founding.on_envelope(envelope)
        head = await self._founding.run()
        _log.info("the run has begun", founders=len(head.genesis.founders))
        return LogStore.create(self._folder.log, head)

    def _may_have_voted(self, state: State) -> bool:
        """Whether this identity took part before, and may have said what it does not remember."""
        me = self._identity.peer_id
        is_authority = me in state.rules.authorities and state.height > 0
        return is_authority or state.find_account(me) is not None

    def _circumstances(
        self, log: LogStore, wal: FileWal, *, has_whole_memory: bool
    ) -> Circumstances:
        return Circumstances(
            config=self._config,
            identity=self._identity,
            clock=self._clock,
            timers=self._timers,
            voice=self._voice,
            directory=self._directory,
            bulk=self._bulk,
            statements=self._statements,
            heard=self._heard,
            settled=self._settled,
            blobs=self._blobs,
            log=log,
            wal=wal,
            has_whole_memory=has_whole_memory,
            make_join=self._make_join,
            emit=self._emit,
            told=self._told,
        )

    def _parameters(self, log: LogStore) -> Parameters | NoParameters:
        desk, tier = self._desk, self._options.tier
        if desk is None or tier is None:
            return NoParameters(self._settled, self._blobs)
        donors = PeerDonors(
            self._config,
            tier,
            self._store,
            self._bulk.client,
            self._bulk.swarm,
            self._directory,
            self._settled,
            self._emit,
            self._clock,
        )
        snapshots = Snapshots(self._folder.snapshots, self._store, tier, self._offers)
        data_manifest = log.head.genesis.data_manifest
        checkpoints = Checkpoints(
            self._folder.checkpoints, self._config, tier, self._settled, data_manifest
        )
        checkpoints.open()
        checkpoints.on_published = self._on_checkpoint
        parameters = Parameters(
            desk, tier, self._settled, self._blobs, snapshots, donors, checkpoints, self._emit
        )
        parameters.wanted_tiers = self._offers.wanted_tiers
        return parameters

    def _on_checkpoint(self, folder: Path, param_round: RoundIndex) -> None:
        self._emit(events.CheckpointWritten(param_round, str(folder)))
        if self._uploader is not None:
            self._uploader.offer(folder, param_round)

    async def _start_trainer(self, stack: AsyncExitStack) -> TrainerDesk | None:
        options = self._options
        if options.tier is None:
            return None
        me = self._identity.peer_id
        setup = make_setup(self._config, options, options.tier, self._folder.store, me)
        desk = TrainerDesk(setup, options.trainer_command or TRAINER)
        return await stack.enter_async_context(desk)

    async def _await_trainer(self) -> Ready | None:
        """What the trainer says once it is loaded; None for a witness."""
        if self._desk is None:
            return None
        ready = await self._desk.started()
        self._told.manifest = ready.data_files.encode()
        require_checkpoint(self._config, ready)
        return ready

    async def _end(self, stop: asyncio.Event) -> None:
        """Leave in order: say so if the run goes on, or stay a moment for those behind us."""
        participation = self._participation
        if participation is None:
            return
        if participation.is_done:
            clock = asyncio.get_running_loop().time
            until_s = clock() + LINGER_S
            await participation.finish()
            self._emit(events.Finished(self._settled.closed_count))
            _log.info("the run is finished", rounds=self._settled.closed_count)
            if self._uploader is not None:
                await self._uploader.drain(stop)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, until_s - clock()))
        else:
            _log.info("leaving")
            await participation.leave("told to stop")

    # What arrives

    async def _listen(self, gossip: Gossip) -> None:
        while True:
            self._take_in(await gossip.receive())

    def _take_in(self, envelope: Envelope) -> None:
        """Keep what others may lack, and act on everything."""
        if not self._statements.add(envelope):  # else the pool hands it on as new
            self._dispatch(envelope)

    def _dispatch(self, envelope: Envelope) -> None:
        """A statement whose signature has been checked, ours included."""
        if self._participation is not None:
            self._participation.on_envelope(envelope)
            return
        self._early.append(envelope)
        if self._founding is not None:
            self._founding.on_envelope(envelope)

    def _judge(self, envelope: Envelope) -> Judgement:
        is_member = self._is_member(envelope.sender)
        return judge(envelope, self._config.run.owner, is_member=is_member)

    def _is_member(self, peer: PeerId) -> bool:
        return self._participation is None or self._participation.is_member(peer)

    def _make_join(self, state: State | None) -> Join:
        """Our request to take part in the next epoch, newer than every earlier one."""
        nonce = next_nonce(state, self._identity.peer_id, self._clock.time_ms())
        return make_join(self._options, self._ready, self._own.fingerprint, self._schema, nonce)
