"""One simulated run: peers, links, faults and the monitor, from a schedule to a result."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.config.load import check_run_config
from psyche_p2p.consensus import Timeouts
from psyche_p2p.coordinator import (
    State,
    apply,
    genesis_state,
)
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, Height, PeerId
from psyche_p2p.sim import duties
from psyche_p2p.sim.disk import Disk
from psyche_p2p.sim.liars import Liar
from psyche_p2p.sim.loop import EventLoop
from psyche_p2p.sim.messages import size_bytes
from psyche_p2p.sim.monitor import Monitor, Violation
from psyche_p2p.sim.network import Network
from psyche_p2p.sim.peer import SimPeer
from psyche_p2p.sim.schedule import Fault, FaultKind, Schedule
from psyche_p2p.sim.signing import CountedKeys, Keys, Notary, RealKeys, make_identity
from psyche_p2p.sim.trace import Mark, Trace
from psyche_p2p.wire import Block, Commitment, DecidedBlock, Join, Phase
from psyche_p2p.wire.commands import Admit, Genesis
from psyche_p2p.wire.records import OpenRound, Slot

START_MS = 1_700_000_000_000
TRAIN_MS = 400
STORM_LOSS = 0.8
LARGE_NETWORK = 14
"""From so many peers on a block is applied once for all: peers hold equal states, or have failed
the monitor's check already."""
_SAMPLES_PER_PEER = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What a simulated run came to."""

    rounds_decided: int
    violations: tuple[Violation, ...]
    messages_per_round: float
    bytes_per_round: float
    blob_bytes_per_round: float
    decide_latencies_ms: tuple[int, ...]
    virtual_ms: int
    is_finished: bool
    last_progress_ms: int
    view_changes: int
    event_count: int


class World:
    """Holds everything that peers share only because they are simulated."""

    def __init__(self, schedule: Schedule, trace: Trace | None = None) -> None:
        self.schedule = schedule
        self.trace = trace or Trace()
        self.loop = EventLoop()
        self.timeouts = Timeouts()
        self.config = make_config(schedule)
        self.run_id = run_id(self.config)
        self.notary = Notary(self.run_id, schedule.has_real_signatures)
        self.unavailable: set[BlobHash] = set()
        self.bad_targets: set[BlobHash] = set()
        self.refused_count = 0
        self.view_changes = 0
        self.peer_count = schedule.peers
        self.last_progress_ms = 0
        rng = random.Random(f"world {schedule.seed}")
        self.network = Network(self.loop, schedule.links, rng, self._deliver)
        self._train_ms = [int(TRAIN_MS * rng.uniform(0.5, 1.5)) for _ in range(schedule.peers)]
        self._due_ms: dict[Height, int] = {}
        self._latencies_ms: list[int] = []
        self._applied: dict[tuple[bytes, Block], State] = {}
        self.peers: list[SimPeer] = []
        self._index: dict[PeerId, int] = {}
        self.genesis: State
        self.monitor: Monitor

    def run(self, limit_ms: int) -> Result:
        """Let it all happen, until every honest peer has finished the run or time is up."""
        self._populate()
        for peer in self.peers:
            peer.start()
        for fault in self.schedule.faults:
            self.loop.call_at(fault.at_ms, self._strike, fault)
        self.loop.run(limit_ms)
        honest = [peer.state for peer in self._honest() if peer.is_online]
        self.monitor.check_end(honest)
        for violation in self.monitor.violations:
            self.trace.add(violation.time_ms, 0, Mark.VIOLATION, violation.rule)
        return self._summarise()

    # What peers ask of the world

    def send(self, source: int, target: int, message: Any) -> None:
        self.network.send(source, target, message, size_bytes(message))

    def send_all(self, source: int, message: Any) -> None:
        """To everyone else, as gossip does."""
        size, send = size_bytes(message), self.network.send
        for target in range(self.peer_count):
            if target != source:
                send(source, target, message, size)

    def peer_id(self, index: int) -> PeerId:
        return self.peers[index].keys.peer

    def index_of(self, peer: PeerId) -> int:
        return self._index[peer]

    def clock_offset_ms(self, index: int) -> int:
        return START_MS + self.schedule.skew_ms(index)

    def train_ms(self, index: int) -> int:
        return self._train_ms[index]

    def make_commitment(self, peer: SimPeer, opened: OpenRound, slot: Slot) -> Commitment:
        """What this trainer commits to: its work, or a liar's idea of it."""
        honest = duties.make_commitment(peer.state, opened, slot)
        if isinstance(peer, Liar):
            return peer.invent_commitment(opened, honest)
        return honest

    def make_targets(self, peer: SimPeer, opened: OpenRound, slot: Slot) -> Commitment:
        """What this teacher commits to: its targets, good or not."""
        commitment = duties.make_targets(peer.state, opened, slot)
        if isinstance(peer, Liar) and peer.teaches_badly:
            self.bad_targets.add(commitment.blob_hash)
        return commitment

    def refuses(self, peer: SimPeer, targets: Commitment) -> bool:
        """Whether this witness says that targets are no good."""
        is_bad = targets.blob_hash in self.bad_targets
        return not is_bad if isinstance(peer, Liar) and peer.frames else is_bad

    def apply_to(self, state: State, block: Block) -> State:
        """The state machine itself; in large networks each block is applied once for all."""
        if self.peer_count < LARGE_NETWORK:
            return apply(state, block, self.notary.verify)
        key = (state.block_hash, block)
        if key not in self._applied:
            self._applied[key] = apply(state, block, self.notary.verify)
        return self._applied[key]

    def on_due(self, peer: SimPeer, height: Height) -> None:
        if peer.is_honest:
            self._due_ms.setdefault(height, self.loop.now_ms)

    def on_decided(self, peer: SimPeer, decided: DecidedBlock) -> None:
        """A peer stored a decided block."""
        if not peer.is_honest:
            return
        height, view = decided.block.height, decided.certificate.view
        now_ms, monitor = self.loop.now_ms, self.monitor
        monitor.now_ms = now_ms
        monitor.on_decided(decided)
        if peer.state.height >= len(monitor.blocks):
            self.last_progress_ms = now_ms
        self.view_changes = max(self.view_changes, view)
        if height in self._due_ms:
            self._latencies_ms.append(now_ms - self._due_ms[height])
        self.trace.add(now_ms, peer.index, Mark.DECISION, f"height {height} in view {view}")
        if self._is_done():
            self.loop.stop()

    def crash(self, peer: SimPeer) -> None:
        peer.stop()

    # Faults

    def _strike(self, fault: Fault) -> None:
        ends_ms = fault.at_ms + fault.duration_ms
        touched = fault.peers or tuple(range(self.peer_count))
        self.trace.add_span(fault.at_ms, ends_ms, touched, fault.kind.value)
        match fault.kind:
            case FaultKind.PARTITION:
                self.network.split((fault.peers,))
            case FaultKind.STORM:
                self.network.loss = max(STORM_LOSS, self.network.loss)
            case FaultKind.CRASH | FaultKind.LOSE_DISK:
                for index in fault.peers:
                    self.peers[index].effects_until_crash = fault.after_effects
        self.loop.call_at(ends_ms, self._end, fault)

    def _end(self, fault: Fault) -> None:
        if fault.kind in (FaultKind.PARTITION, FaultKind.STORM):
            self.network.heal()
            return
        for index in fault.peers:
            peer = self.peers[index]
            peer.stop()
            if fault.kind is FaultKind.LOSE_DISK:
                peer.disk = Disk(self.genesis, is_whole=False)
            peer.start()

    # Beginning and end

    def _populate(self) -> None:
        schedule = self.schedule
        make_keys: Callable[..., Keys] = RealKeys if self.notary.is_real else CountedKeys
        keys = [make_keys(make_identity(i), self.run_id) for i in range(schedule.peers)]
        self._index = {one.peer: index for index, one in enumerate(keys)}
        honest = frozenset(
            one.peer for index, one in enumerate(keys) if index not in schedule.liar_indices
        )
        self.monitor = Monitor(self.run_id, self.notary.verify, honest)
        joins = [duties.make_join(1, schedule.tier_of(index)) for index in range(schedule.peers)]
        self.genesis = make_genesis_state(self.config, keys, joins, self.notary)
        lies = dict(schedule.liars)
        for index, one in enumerate(keys):
            disk = Disk(self.genesis)
            if index in lies:
                seed = f"liar {schedule.seed} {index}"
                self.peers.append(Liar(self, index, one, disk, lies[index], seed))
            else:
                self.peers.append(SimPeer(self, index, one, disk))

    def _honest(self) -> list[SimPeer]:
        return [peer for peer in self.peers if peer.is_honest]

    def _is_done(self) -> bool:
        return bool(self.monitor.violations) or all(
            peer.is_online and peer.state.phase is Phase.FINISHED for peer in self._honest()
        )

    def _deliver(self, source: int, target: int, message: Any) -> None:
        self.monitor.now_ms = self.loop.now_ms
        self.peers[target].on_message(source, message)
        if self.monitor.violations:
            self.loop.stop()

    def _summarise(self) -> Result:
        honest = self._honest()
        rounds = max((peer.state.closed_count for peer in honest), default=0)
        return Result(
            rounds_decided=rounds,
            violations=tuple(self.monitor.violations),
            messages_per_round=self.network.message_count / max(1, rounds),
            bytes_per_round=self.network.byte_count / max(1, rounds),
            blob_bytes_per_round=self.network.blob_byte_count / max(1, rounds),
            decide_latencies_ms=tuple(self._latencies_ms),
            virtual_ms=self.loop.now_ms,
            is_finished=self._is_done() and not self.monitor.violations,
            last_progress_ms=self.last_progress_ms,
            view_changes=self.view_changes,
            event_count=self.loop.event_count,
        )


def make_config(schedule: Schedule) -> RunConfig:
    """A run of small rounds for this many peers."""
    batch = max(4, _SAMPLES_PER_PEER * schedule.peers)
    values = {
        "run": {"name": "simulated", "total_rounds": schedule.rounds},
        "members": {"waiting_for_members_extra_s": 0.1},
        "rounds": {
            "epoch_s": 100_000.0,
            "warmup_s": 2.5,
            "cooldown_s": 0.5,
            "max_round_train_s": 8.0,
            "global_batch_size_start": batch,
            "global_batch_size_end": batch,
            "equal_batches": True,
        },
        "model": {
            "vocab_size": 256,
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_seq_len": 128,
            "max_tier": duties.MAX_TIER,
        },
        "data": {"sequence_length": 128},
        "distillation": {"enabled": schedule.is_distilling, "targets_wait_s": 4.0},
    }
    return check_run_config(values, "simulation")


def make_genesis_state(
    config: RunConfig, keys: list[Keys], joins: list[Join], notary: Notary
) -> State:
    """The state that all peers founded together."""
    founders = [
        Admit(one.peer, join, one.seal(join).signature)
        for one, join in zip(keys, joins, strict=True)
    ]
    genesis = Genesis(
        run_id=run_id(config),
        time_ms=START_MS,
        schema_hash=duties.SCHEMA,
        param_roots=duties.stub_param_roots(0),
        data_manifest=BlobHash(hash_bytes(b"data")),
        founders=tuple(sorted(founders, key=lambda one: one.peer)),
    )
    return genesis_state(config, genesis, notary.verify)
