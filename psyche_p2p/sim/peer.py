"""One honest peer: the real agreement over the real state machine, with a driver around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psyche_p2p.consensus import (
    Agreement,
    Broadcast,
    Decided,
    Effect,
    EvidenceFound,
    FellBehind,
    Halted,
    Memory,
    Persist,
    SignatureChecker,
)
from psyche_p2p.consensus.run import RunApplication, make_ejection
from psyche_p2p.coordinator import State
from psyche_p2p.coordinator.heard import Heard
from psyche_p2p.ids import Height, View
from psyche_p2p.sim.disk import Disk
from psyche_p2p.sim.messages import Blocks, Pull
from psyche_p2p.sim.rounds import RoundWork
from psyche_p2p.sim.signing import Keys
from psyche_p2p.sim.trace import Mark
from psyche_p2p.wire import Block, DecidedBlock, Envelope, Proposal, Vote, VoteStep

if TYPE_CHECKING:
    from psyche_p2p.sim.world import World

PULL_MS = 1000
PROPOSER_LOOK_MS = 5
OTHERS_LOOK_MS = 600
MAX_PULLED_BLOCKS = 16


class WatchedRun(RunApplication):
    """The run's application, which keeps each step until the driver has stored its block."""

    steps: dict[Height, tuple[State, State]]

    def apply_block(self, block: Block) -> None:
        before = self.state
        super().apply_block(block)
        self.steps[block.height] = (before, self.state)


class SimPeer:
    """Drives one core: messages and time in, effects carried out one by one, crashes in between."""

    is_honest = True

    def __init__(self, world: World, index: int, keys: Keys, disk: Disk) -> None:
        self.world = world
        self.index = index
        self.keys = keys
        self.disk = disk
        self.is_online = False
        self.heard = Heard()
        self.effects_until_crash: int | None = None
        self.incarnation = 0
        self._armed_ms: int | None = None
        self._look_ms: int | None = None
        self._due_height = Height(0)
        self._worth_since = (Height(0), 0)
        self._pull_offset = 0

    @property
    def now_ms(self) -> int:
        return self.world.loop.now_ms

    @property
    def state(self) -> State:
        return self.app.state

    def start(self) -> None:
        """Come up from the disk; without a whole one, without the right to vote."""
        world, disk = self.world, self.disk
        self.is_online, self.incarnation = True, self.incarnation + 1
        self.heard = Heard()
        self._armed_ms = self._look_ms = self.effects_until_crash = None
        self._due_height = Height(0)
        self.app = WatchedRun(
            disk.state,
            self.keys.peer,
            self.keys.sign,
            self.heard_pool,
            world.clock_offset_ms(self.index),
            world.apply_to,
        )
        self.app.steps = {}
        self.heard.forget_before(self.state)
        checker = SignatureChecker(world.run_id, world.notary.verify)
        memory = Memory(is_complete=disk.is_whole)
        self.core = Agreement(self.app, self.keys, checker, world.timeouts, memory)
        self.core.restore(disk.load(), self.now_ms)
        self.rounds = RoundWork(self)
        self.rounds.on_state()
        self._carry_out()
        self._pull_later(self.incarnation)
        self.look_soon()

    def heard_pool(self) -> Any:
        return self.heard.pool()

    def stop(self) -> None:
        """Lose everything that is not on the disk."""
        self.is_online = False
        self.incarnation += 1

    # What arrives

    def on_message(self, source: int, message: Any) -> None:
        """Anything another peer sent."""
        if not self.is_online:
            return
        if isinstance(message, Envelope):
            self._on_envelope(message)
        elif isinstance(message, Pull):
            self._on_pull(source, message)
        elif isinstance(message, Blocks):
            self._on_blocks(source, message)

    def _on_envelope(self, envelope: Envelope) -> None:
        if not self.world.notary.is_genuine(envelope):
            self.world.refused_count += 1
            return
        message = envelope.message
        if isinstance(message, (Vote, Proposal)):
            self.core.on_message(envelope, self.now_ms)
            self._carry_out()
        elif self.heard.take(envelope):
            self.rounds.on_statement(envelope)
            self.look_soon()

    def _on_pull(self, source: int, pull: Pull) -> None:
        first = pull.height
        blocks = tuple(self.disk.decided[first - 1 : first - 1 + MAX_PULLED_BLOCKS])
        if blocks or pull.wants_height:
            self.world.send(self.index, source, Blocks(self.core.state.height, blocks))

    def _on_blocks(self, source: int, reply: Blocks) -> None:
        for decided in reply.blocks:
            self.core.on_decided(decided, self.now_ms)
        self.core.on_heard(self.world.peer_id(source), reply.height)
        if len(reply.blocks) == MAX_PULLED_BLOCKS:
            self.pull_from(source)
        self._carry_out()

    # What time brings

    def _on_timer(self, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        self._armed_ms = None
        self.core.on_timer(self.now_ms)
        self._carry_out()

    def look_soon(self) -> None:
        """See, in a moment, whether the next block is due."""
        if self._due_height != self.app.height:
            self._look_at(self.now_ms + PROPOSER_LOOK_MS)

    def _look_at(self, time_ms: int) -> None:
        if self._look_ms is None or time_ms < self._look_ms or self._look_ms < self.now_ms:
            self._look_ms = time_ms
            self.world.loop.call_at(time_ms, self._look, self.incarnation, time_ms)

    def _look(self, incarnation: int, planned_ms: int) -> None:
        if incarnation != self.incarnation or planned_ms != self._look_ms:
            return
        self._look_ms = None
        if self._due_height == self.app.height:
            return
        if not self.rounds.is_worth_looking():
            due_ms = self.app.next_due_ms(self.now_ms)
            self._look_at(min(due_ms or self.now_ms + PULL_MS, self.now_ms + PULL_MS))
        elif self._is_our_turn_to_look() and self.app.is_due(self.now_ms):
            self._due_height = self.app.height
            self.world.on_due(self, self.app.height)
            self.core.on_due(self.now_ms)
            self._carry_out()
        else:
            self._look_at(self.now_ms + OTHERS_LOOK_MS)

    def _is_our_turn_to_look(self) -> bool:
        """The proposer looks at once, the others when it did not speak within a while.

        Looking costs as much as proposing, and the others only need it to start their timers.
        """
        if self.app.proposer(View(0)) == self.keys.peer:
            return True
        height, since_ms = self._worth_since
        if height != self.app.height:
            self._worth_since = (self.app.height, self.now_ms)
            return False
        return self.now_ms - since_ms >= OTHERS_LOOK_MS

    def _pull_later(self, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        if self.world.peer_count > 1:
            self._pull_offset = self._pull_offset % (self.world.peer_count - 1) + 1
            self.pull_from((self.index + self._pull_offset) % self.world.peer_count)
        self.world.loop.call_at(self.now_ms + PULL_MS, self._pull_later, incarnation)

    def pull_from(self, target: int) -> None:
        """Ask a peer for the decided blocks we lack, and for its height if we forgot ours."""
        wants_height = not self.disk.is_whole
        self.world.send(self.index, target, Pull(self.core.state.height, wants_height))

    # What the core wants done

    def _carry_out(self) -> None:
        """Every effect in its order; a crash may strike between any two of them."""
        for effect in self.core.take_effects():
            if self.effects_until_crash is not None:
                self.effects_until_crash -= 1
                if self.effects_until_crash < 0:
                    self.world.crash(self)
                    return
            self._carry_out_one(effect)
        deadline = self.core.next_deadline()
        if deadline is not None and (self._armed_ms is None or deadline < self._armed_ms):
            self._armed_ms = deadline
            self.world.loop.call_at(deadline, self._on_timer, self.incarnation)

    def _carry_out_one(self, effect: Effect) -> None:
        if isinstance(effect, Persist):
            self.disk.append(effect.record)
        elif isinstance(effect, Broadcast):
            self.broadcast(effect)
        elif isinstance(effect, Decided):
            self._on_decided(effect.decided)
        elif isinstance(effect, EvidenceFound):
            self._on_evidence(effect)
        elif isinstance(effect, FellBehind):
            self.pull_from(self.world.index_of(effect.peer))
        elif isinstance(effect, Halted):
            self._on_halted(effect)

    def broadcast(self, effect: Broadcast) -> None:
        """Gossip a proposal or vote."""
        envelope = effect.envelope
        if envelope.sender == self.keys.peer:
            if self.is_honest:  # a liar's core may repeat both of its votes as part of a proof
                self.world.monitor.on_said(envelope)
            if not effect.is_repeat:
                self._mark_said(envelope)
        self.world.send_all(self.index, envelope)

    def say(self, message: Any) -> Envelope:
        """Gossip a statement about a round, and hear it ourselves."""
        envelope = self.keys.seal(message)
        self.heard.take(envelope)
        self.world.send_all(self.index, envelope)
        self.look_soon()
        return envelope

    def _on_decided(self, decided: DecidedBlock) -> None:
        height = decided.block.height
        before, after = self.app.steps.pop(height)
        self.disk.store(decided, after)
        if self.is_honest:
            self.world.monitor.on_applied(self.keys.peer, before, decided.block, after)
        if after.closed_count > before.closed_count:
            text = f"{before.closed_count}"
            self.world.trace.add(self.now_ms, self.index, Mark.ROUND_CLOSED, text)
        self.heard.forget_before(self.state)
        self.world.on_decided(self, decided)
        if self.core.state.height == height + 1:
            self.rounds.on_state()
            self.look_soon()

    def _on_halted(self, halted: Halted) -> None:
        if self.is_honest:
            self.world.monitor.report("no honest peer halts", halted.reason)

    def _on_evidence(self, evidence: EvidenceFound) -> None:
        self.world.trace.add(self.now_ms, self.index, Mark.EVIDENCE, evidence.offender[-6:])
        command = make_ejection(evidence)
        if command is not None:
            if self.is_honest:
                self.world.monitor.on_contradiction(evidence.first)
            self.heard.accuse(evidence.offender, command)
            self.look_soon()

    def _mark_said(self, envelope: Envelope) -> None:
        trace, message = self.world.trace, envelope.message
        if not trace.is_enabled:
            return
        text = f"height {message.height} view {message.view}"
        if isinstance(message, Proposal):
            mark = Mark.PROPOSAL
        elif message.block_hash is None:
            mark = Mark.NIL_VOTE
        else:
            mark = Mark.PREVOTE if message.step is VoteStep.PREVOTE else Mark.PRECOMMIT
        trace.add(self.now_ms, self.index, mark, text)
