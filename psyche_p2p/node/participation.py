"""One peer in a run that has begun: agreement, rounds, parameters, and what ties them together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psyche_p2p.clock import Clock
from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.consensus import (
    Agreement,
    IdentitySigner,
    Memory,
    SignatureChecker,
    Timeouts,
)
from psyche_p2p.coordinator import State, require_welcome
from psyche_p2p.coordinator.heard import Heard
from psyche_p2p.errors import PsycheError, Rejected
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlockHash, Height, PeerId, Tier, View, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.anti_entropy import AntiEntropy
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.reconciler import Reconciler
from psyche_p2p.net.statements import Frontier, StatementPool
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.bulk_plane import BulkPlane, Told
from psyche_p2p.node.directory import Directory
from psyche_p2p.node.joining import next_nonce
from psyche_p2p.node.log_store import LogStore
from psyche_p2p.node.parameters import Parameters
from psyche_p2p.node.reporting import phase_event, report_step
from psyche_p2p.node.rounds import RoundWork
from psyche_p2p.node.settled import Settled
from psyche_p2p.node.supervision import TaskTree
from psyche_p2p.node.timers import Timers
from psyche_p2p.node.voice import Voice
from psyche_p2p.node.voting import Voting, WatchedRun
from psyche_p2p.node.waiting import what_is_missing
from psyche_p2p.node.wal import FileWal
from psyche_p2p.node.witnessing import NoParameters
from psyche_p2p.observe import events
from psyche_p2p.wire import DecidedBlock, Envelope, Join, Phase, Proposal, Vote
from psyche_p2p.wire.messages import Withdraw

_BLOCKS_AT_ONCE = 64
_WATCH_S = 3.0
_LEAVE_S = 2.0
_log = get_logger(__name__)
NO_FRONTIER = Frontier(Height(0), BlockHash(bytes(32)), View(0), ())


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a participation is made of; everything here outlives it."""

    config: RunConfig
    identity: Identity
    clock: Clock
    timers: Timers
    voice: Voice
    directory: Directory
    bulk: BulkPlane
    statements: StatementPool
    heard: Heard
    settled: Settled
    blobs: BlobDesk
    log: LogStore
    wal: FileWal
    has_whole_memory: bool
    make_join: Callable[[State], Join]
    emit: Callable[[events.Event], None]
    told: Told


class Participation:
    """Runs inside a task tree until the run is finished or the peer leaves."""

    def __init__(
        self, around: Circumstances, state: State, parameters: Parameters | NoParameters
    ) -> None:
        self._around = around
        self._parameters = parameters
        self._me: PeerId = around.identity.peer_id
        self.finished = asyncio.Event()
        self._released = asyncio.Event()
        self._pulling: set[PeerId] = set()
        self._tree: TaskTree | None = None
        app = WatchedRun(
            state,
            self._me,
            around.identity.sign,
            around.heard.pool,
            around.timers.offset_ms,
        )
        app.steps = {}
        signer = IdentitySigner(around.identity, run_id(around.config))
        core = Agreement(
            app,
            signer,
            SignatureChecker(run_id(around.config)),
            Timeouts(),
            Memory(is_complete=around.has_whole_memory),
        )
        self._voting = Voting(
            app,
            core,
            self._me,
            around.heard,
            around.voice,
            around.log,
            around.wal,
            around.timers,
            around.emit,
        )
        self._rounds = RoundWork(
            self._me,
            lambda: app.state,
            around.heard,
            around.voice,
            parameters,
            around.blobs,
            around.timers,
            around.make_join,
            around.emit,
            around.config.distillation,
        )

    @property
    def state(self) -> State:
        return self._voting.state

    @property
    def is_done(self) -> bool:
        return self.state.phase is Phase.FINISHED

    def is_member(self, peer: PeerId) -> bool:
        """Whether this peer may say something about the run."""
        return self._voting.app.is_member(peer)

    def start(self, tree: TaskTree) -> None:
        """Take part from now on."""
        around = self._around
        self._tree = tree
        self._voting.on_step = self._on_step
        self._voting.on_head = self._on_head
        self._voting.pull_from = self._pull_from
        self._parameters.on_change = self._rounds.on_parameters
        around.heard.forget_before(self.state)
        self._move_frontier()
        around.directory.follow(self.state)
        around.emit(phase_event(self.state))
        tree.start("parameters", self._parameters.run())
        core = AntiEntropy(
            around.statements,
            around.config.network.anti_entropy_s,
            random.SystemRandom().choice,
        )
        around.directory.on_moved.append(core.forgive)
        reconciler = Reconciler(
            around.statements,
            core,
            around.bulk.client,
            around.clock,
            around.directory.members,
            self._on_blocks,
            self._voting.on_heard,
        )
        tree.start("anti-entropy", reconciler.run())
        tree.start("log-watch", self._watch_log())
        self._voting.start()
        self._on_head()

    def on_envelope(self, envelope: Envelope) -> None:
        """A statement whose signature has been checked, from gossip or from a member."""
        if isinstance(envelope.message, (Vote, Proposal)):
            if envelope.sender != self._me:
                self._voting.on_vote(envelope)
        elif self._around.heard.take(envelope):
            self._rounds.on_statement(envelope)
            self._voting.look_soon()

    async def leave(self, reason: str) -> None:
        """Say that we go, and give the others a moment to note it."""
        self._rounds.is_leaving = True
        state = self.state
        if any(one.peer == self._me for one in state.active_members) and not self.is_done:
            nonce = next_nonce(state, self._me, self._around.clock.time_ms())
            self._around.voice.say(Withdraw(state.epoch, reason, nonce))
            try:
                await asyncio.wait_for(self._released.wait(), _LEAVE_S)
            except asyncio.TimeoutError:
                _log.info("left before the others noted it: they will notice")

    async def finish(self) -> None:
        """The run is over: wait until its last parameters are measured and written."""
        await self._parameters.drain()

    async def close(self) -> None:
        """Stop what runs outside the tree of tasks."""
        await self._rounds.close()

    # What a decided block changes

    def _on_step(self, before: State, after: State, decided: DecidedBlock) -> None:
        around = self._around
        around.settled.on_state(after)
        report_step(before, after, decided.block, around.emit)
        self._leave_if_ejected(after)
        around.directory.follow(after)
        if after.closed_count > before.closed_count:
            self._parameters.catch_up()
        self._parameters.compare_with_log()
        if after.phase is not before.phase:
            self._on_phase(before, after)
        if not any(one.peer == self._me for one in after.active_members):
            self._released.set()

    def _leave_if_ejected(self, state: State) -> None:
        """Whoever was ejected would wait for ever."""
        try:
            require_welcome(state, self._me)
        except Rejected as rejected:
            assert self._tree is not None, "started"
            self._tree.fail(rejected)

    def _on_phase(self, before: State, after: State) -> None:
        if before.phase is Phase.COOLDOWN:
            tiers = frozenset(Tier(one.join.tier) for one in after.applicants)
            self._parameters.store_for(tiers)
            self._parameters.evaluate_and_save(is_last=after.phase is Phase.FINISHED)
        elif after.phase is Phase.WARMUP:
            self._parameters.store_for(frozenset(Tier(one.join.tier) for one in after.entrants))
        if after.phase is Phase.FINISHED:
            self.finished.set()

    def _on_head(self) -> None:
        self._around.told.height = self.state.height
        self._move_frontier()
        self._rounds.on_state()
        if self.is_done:
            self.finished.set()

    def _move_frontier(self) -> None:
        """Keep and compare statements about what is open now."""
        state = self.state
        rounds = [(state.epoch, one.round) for one in state.open_rounds]
        if state.phase is Phase.COOLDOWN:  # the final attestations name the round after the last
            rounds.append((state.epoch, state.next_round))
        frontier = Frontier(
            state.height, state.block_hash, self._voting.core.state.view, tuple(rounds)
        )
        self._around.statements.move_to(frontier)

    # What others have that we do not

    def _on_blocks(self, peer: PeerId, blocks: Sequence[DecidedBlock]) -> None:
        for decided in blocks:
            if not self._voting.on_decided(decided):
                _log.debug("a block that is of no use", peer=short_id(peer))

    async def _watch_log(self) -> None:
        """Now and then ask somebody who answers anyone whether there is more of the log.

        Members tell each other. Whoever was away for long is no member any more, and those it
        knows from its old log may be gone.
        """
        told = None
        while True:
            height = self.state.height
            await asyncio.sleep(_WATCH_S)
            missing = what_is_missing(self.state) if self.state.height == height else None
            if missing != told and missing is not None:
                _log.info("the run waits", cause=missing)
            told = missing
            doors = sorted(self._around.directory.open_doors())
            if doors and self.state.height == height:
                self._pull_from(random.SystemRandom().choice(doors))

    def _pull_from(self, peer: PeerId) -> None:
        """A peer may be ahead: ask it for the blocks we lack, once at a time."""
        if self._tree is not None and peer not in self._pulling:
            self._pulling.add(peer)
            self._tree.start(f"pull-from-{short_id(peer)}", self._pull(peer))

    async def _pull(self, peer: PeerId) -> None:
        bulk, directory = self._around.bulk, self._around.directory
        ways = (
            (bulk.client, directory.members().get(peer)),
            (bulk.joiner_client, directory.open_doors().get(peer)),  # to it we may be a stranger
        )
        try:
            for client, contact in ways:
                if contact is not None and await self._pull_over(client, contact):
                    return
        finally:
            self._pulling.discard(peer)

    async def _pull_over(self, client: BulkClient, contact: Contact) -> bool:
        """All blocks that a peer has and we have not; whether it answered."""
        try:
            while True:
                first = Height(self.state.height + 1)
                blocks = await client.log(contact, first, _BLOCKS_AT_ONCE)
                self._on_blocks(contact.peer, blocks)
                if len(blocks) < _BLOCKS_AT_ONCE or self.state.height < first:
                    return True
        except PsycheError as error:
            _log.debug("no blocks", peer=short_id(contact.peer), cause=str(error))
            return False
