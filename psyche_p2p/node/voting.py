"""This peer's part in agreement: the core's inputs handed in, its effects carried out in order."""

from __future__ import annotations

from collections.abc import Callable

from psyche_p2p.consensus import (
    Agreement,
    Broadcast,
    Decided,
    Effect,
    EvidenceFound,
    FellBehind,
    Halted,
    Persist,
)
from psyche_p2p.consensus.run import RunApplication, make_ejection
from psyche_p2p.coordinator import State, compute_quorum
from psyche_p2p.coordinator.heard import Heard
from psyche_p2p.errors import StorageError
from psyche_p2p.ids import Height, PeerId, View, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.node.log_store import LogStore
from psyche_p2p.node.timers import Timers
from psyche_p2p.node.voice import Voice
from psyche_p2p.node.wal import FileWal
from psyche_p2p.observe import events
from psyche_p2p.wire import Block, DecidedBlock, Envelope, Phase
from psyche_p2p.wire.records import OpenRound

LOOK_AGAIN_MS = 1000
PROPOSER_LOOK_MS = 5
OTHERS_LOOK_MS = 600
_WAL_HEIGHTS = 32  # decided heights are forgotten in the log of votes so many at a time
_log = get_logger(__name__)


class WatchedRun(RunApplication):
    """The run's application, which keeps each step until its block is on disk."""

    steps: dict[Height, tuple[State, State]]

    def apply_block(self, block: Block) -> None:
        before = self.state
        super().apply_block(block)
        self.steps[block.height] = (before, self.state)


OnStep = Callable[[State, State, DecidedBlock], None]


class Voting:
    """Drives one core; everything runs in the peer's loop, one call after the other."""

    def __init__(
        self,
        app: WatchedRun,
        core: Agreement,
        me: PeerId,
        heard: Heard,
        voice: Voice,
        log: LogStore,
        wal: FileWal,
        timers: Timers,
        emit: Callable[[events.Event], None],
    ) -> None:
        self.app = app
        self.core = core
        self._me = me
        self._heard = heard
        self._voice = voice
        self._log = log
        self._wal = wal
        self._timers = timers
        self._emit = emit
        self.on_step: OnStep = lambda _before, _after, _decided: None
        """Called for every decided block, once it is on disk."""
        self.on_head: Callable[[], None] = lambda: None
        """Called when the head is the last block we know of."""
        self.pull_from: Callable[[PeerId], None] = lambda _: None
        """Called when a peer is ahead of us."""
        self._is_carrying_out = False
        self._armed_ms: int | None = None
        self._look_ms: int | None = None
        self._due_height = Height(0)
        self._worth_since = (Height(0), 0)

    @property
    def state(self) -> State:
        return self.app.state

    def start(self) -> None:
        """Stand where the log of votes says we stood."""
        self.core.restore(self._wal.load(), self._timers.now_ms)
        self._carry_out()
        self.look_soon()

    def on_vote(self, envelope: Envelope) -> None:
        """A proposal or vote whose signature has been checked."""
        self.core.on_message(envelope, self._timers.now_ms)
        self._carry_out()

    def on_decided(self, decided: DecidedBlock) -> bool:
        """A decided block from somewhere else; whether it was the next one."""
        height = self.app.height
        self.core.on_decided(decided, self._timers.now_ms)
        self._carry_out()
        return self.app.height > height

    def on_heard(self, peer: PeerId, height: Height) -> None:
        """A member told us over its own channel which height it is deciding."""
        self.core.on_heard(peer, height)
        self._carry_out()

    # Looking whether a block is due

    def look_soon(self) -> None:
        """See, in a moment, whether the next block is due."""
        if self._due_height != self.app.height:
            self._look_at(self._timers.now_ms + PROPOSER_LOOK_MS)

    def _look_at(self, time_ms: int) -> None:
        now_ms = self._timers.now_ms
        if self._look_ms is None or time_ms < self._look_ms or self._look_ms < now_ms:
            self._look_ms = time_ms
            self._timers.at(time_ms, self._look, time_ms)

    def _look(self, planned_ms: int) -> None:
        if planned_ms != self._look_ms:
            return
        self._look_ms = None
        if self._due_height == self.app.height or self.state.phase is Phase.FINISHED:
            return
        now_ms = self._timers.now_ms
        if not self._is_worth_looking(now_ms):
            due_ms = self.app.next_due_ms(now_ms)
            self._look_at(min(due_ms or now_ms + LOOK_AGAIN_MS, now_ms + LOOK_AGAIN_MS))
        elif self._is_our_turn_to_look(now_ms) and self.app.is_due(now_ms):
            self._due_height = self.app.height
            self.core.on_due(now_ms)
            self._carry_out()
        else:
            self._look_at(now_ms + OTHERS_LOOK_MS)

    def _is_our_turn_to_look(self, now_ms: int) -> bool:
        """The proposer looks at once, the others when it did not speak within a while.

        Looking costs as much as proposing, and the others only need it to start their timers.
        """
        if self.app.proposer(View(0)) == self._me:
            return True
        height, since_ms = self._worth_since
        if height != self.app.height:
            self._worth_since = (self.app.height, now_ms)
            return False
        return now_ms - since_ms >= OTHERS_LOOK_MS

    def _is_worth_looking(self, now_ms: int) -> bool:
        """Whether a block may be due, found out cheaply."""
        if self._heard.has_urgent:
            return True
        is_late = self.app.next_due_ms(now_ms) is None
        state = self.state
        if state.phase is Phase.WARMUP:
            return is_late or self._heard.warm_count >= len(state.entrants)
        if state.phase is Phase.TRAIN and state.head_round is not None:
            return is_late or self._is_witnessed(state.head_round, now_ms)
        return is_late

    def _is_witnessed(self, opened: OpenRound, now_ms: int) -> bool:
        """Whether every witness that usually speaks has spoken, or a quorum has and it is late."""
        state = self.state
        count = self._heard.witness_counts.get(opened.round, 0)
        if count < compute_quorum(len(opened.committee)):
            return False
        prompt = {one.peer for one in state.active_members if one.silent_rounds == 0}
        if count >= len(prompt.intersection(opened.committee)):
            return True
        waited_ms = self.app.wall_ms(now_ms) - state.head_since_ms
        return waited_ms >= state.usual_round_ms + state.usual_round_ms // 4

    # What the core wants done

    def _carry_out(self) -> None:
        """Every effect in its order, and the next deadline.

        What an effect leads to may hand the core its next input; that waits for its turn here.
        """
        if self._is_carrying_out:
            return
        self._is_carrying_out = True
        try:
            while effects := self.core.take_effects():
                for effect in effects:
                    self._carry_out_one(effect)
        finally:
            self._is_carrying_out = False
        deadline = self.core.next_deadline()
        if deadline is not None and (self._armed_ms is None or deadline < self._armed_ms):
            self._armed_ms = deadline
            self._timers.at(deadline, self._on_timer, deadline)

    def _on_timer(self, planned_ms: int) -> None:
        if planned_ms == self._armed_ms:
            self._armed_ms = None
        self.core.on_timer(self._timers.now_ms)
        self._carry_out()

    def _carry_out_one(self, effect: Effect) -> None:
        match effect:
            case Persist(record):
                self._wal.append(record)
            case Broadcast(envelope):
                self._voice.repeat(envelope)
            case Decided(decided):
                self._on_decided(decided)
            case EvidenceFound():
                self._on_evidence(effect)
            case FellBehind(peer):
                self.pull_from(peer)
            case Halted(height, reason):
                raise StorageError(
                    f"a quorum decided what this peer cannot accept at height {height}: {reason}",
                    "update this software, or move the run's folder away and start again",
                )

    def _on_decided(self, decided: DecidedBlock) -> None:
        height = decided.block.height
        self._log.append(decided)
        if height % _WAL_HEIGHTS == 0:
            self._wal.forget_through(height)
        before, after = self.app.steps.pop(height)
        self._heard.forget_before(after)
        self.on_step(before, after, decided)
        if self.core.state.height == height + 1:
            self.on_head()
            self.look_soon()

    def _on_evidence(self, evidence: EvidenceFound) -> None:
        reason = f"two {type(evidence.first.message).__name__.lower()}s for one view"
        _log.warning("a peer contradicts itself", peer=evidence.offender, reason=reason)
        self._emit(events.Accused(evidence.offender, reason))
        command = make_ejection(evidence)
        if command is not None:
            self._heard.accuse(evidence.offender, command)
            self.look_soon()
        else:
            _log.debug("no proof for the log", peer=short_id(evidence.offender))
