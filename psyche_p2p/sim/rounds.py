"""A peer's work in the rounds: training that only takes time, blobs that only take bandwidth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psyche_p2p.coordinator import Signed, State, closing_voters, compute_quorum, warm_statement
from psyche_p2p.coordinator.heard import as_signed
from psyche_p2p.coordinator.refusals import refusal_of
from psyche_p2p.ids import BatchInterval, BlobHash, RoundIndex
from psyche_p2p.sim import duties
from psyche_p2p.sim.trace import Mark
from psyche_p2p.wire import Attestation, Commitment, Envelope, Join, Phase, Refusal
from psyche_p2p.wire.records import OpenRound, Slot

if TYPE_CHECKING:
    from psyche_p2p.sim.peer import SimPeer

WARM_UP_MS = 200
TEACH_MS = 100
REPEAT_MS = 2000
PATIENCE_MS = 2000
"""A witness that still lacks blobs says after this long what it holds."""


class RoundWork:
    """Trains, holds, attests; what was said is said again while nothing is decided."""

    def __init__(self, peer: SimPeer) -> None:
        self._peer = peer
        self._incarnation = peer.incarnation
        self._begun: set[RoundIndex] = set()
        self._taught: set[RoundIndex] = set()
        self._refused: set[tuple[RoundIndex, BatchInterval]] = set()
        self._said: dict[int | str, Envelope] = {}
        self._holding: dict[RoundIndex, list[Signed]] = {}
        self._fetched: set[BlobHash] = set()
        self._attested: dict[RoundIndex, int] = {}
        self._busy_until_ms = 0
        self._phase_key: tuple[Any, ...] = ()

    def on_state(self) -> None:
        """The head moved: take up what the new state asks for."""
        state = self._peer.state
        self._taught = {one for one in self._taught if one >= state.closed_count}
        self._refused = {one for one in self._refused if one[0] >= state.closed_count}
        for round_index in [r for r in self._begun if r < state.closed_count]:
            self._begun.discard(round_index)
            self._said.pop(round_index, None)
            self._holding.pop(round_index, None)
        me = self._peer.keys.peer
        is_closer = state.phase is Phase.COOLDOWN and me in closing_voters(state)
        key = (state.phase, state.epoch, state.closed_count, is_closer)
        if key == self._phase_key:
            return
        self._phase_key = key
        if state.phase is Phase.WAITING_FOR_MEMBERS:
            self._ask_again(state)
        if state.phase is Phase.WARMUP:
            self._later(WARM_UP_MS, self._say_warm, key)
        if state.phase is Phase.TRAIN:
            self._begin_rounds()
        if is_closer:
            self._say("final", duties.make_final_attestation(state, me), Mark.ATTESTATION)
        self._later(REPEAT_MS, self._repeat, key)

    def on_statement(self, envelope: Envelope) -> None:
        """A commitment's blob begins to come down our link."""
        if isinstance(envelope.message, Commitment):
            self._fetch(as_signed(envelope))
            if self._peer.state.phase is Phase.TRAIN:
                self._train()  # perhaps they are the targets that a batch here waits for

    def _fetch(self, signed: Signed) -> None:
        """Get a blob; it is held once its bytes have come through."""
        world, commitment = self._peer.world, signed.message
        blob = commitment.blob_hash
        if blob in self._fetched or not self._is_witness(commitment.round):
            return
        self._fetched.add(blob)
        if blob not in world.unavailable:
            ends_ms = world.network.transfer_ends_ms(self._peer.index, commitment.size_bytes)
            opened = next(
                one for one in self._peer.state.open_rounds if one.round == signed.message.round
            )
            look = self._examine if duties.is_targets(opened, signed) else self._hold
            self._later(ends_ms - self._peer.now_ms, look, signed)

    def is_worth_looking(self) -> bool:
        """Whether a block may be due, found out cheaply."""
        peer, state = self._peer, self._peer.state
        if peer.heard.has_urgent:
            return True
        is_late = peer.app.next_due_ms(peer.now_ms) is None
        if state.phase is Phase.WARMUP:
            return is_late or peer.heard.warm_count >= len(state.entrants)
        if state.phase is Phase.TRAIN and state.head_round is not None:
            return is_late or self._is_witnessed(state.head_round)
        return is_late

    def _is_witnessed(self, opened: OpenRound) -> bool:
        """Whether every witness that usually speaks has spoken, or a quorum has and it is late."""
        state = self._peer.state
        count = self._peer.heard.witness_counts.get(opened.round, 0)
        if count < compute_quorum(len(opened.committee)):
            return False
        prompt = {one.peer for one in state.active_members if one.silent_rounds == 0}
        if count >= len(prompt.intersection(opened.committee)):
            return True
        waited_ms = self._peer.app.wall_ms(self._peer.now_ms) - state.head_since_ms
        linger_ms = state.usual_round_ms + state.usual_round_ms // 4
        return waited_ms >= linger_ms

    def _begin_rounds(self) -> None:
        state = self._peer.state
        for opened in state.open_rounds:
            self._teach(opened)
        self._train()
        for opened in state.open_rounds:
            if self._is_witness(opened.round):
                for signed in list(self._peer.heard.commitments_of(opened.round)):
                    self._fetch(signed)
                self._attest_if_complete(opened)
                self._later(PATIENCE_MS, self._attest_late, opened)

    def _teach(self, opened: OpenRound) -> None:
        """Targets for each of our students of a round, a moment after it opened."""
        mine = [slot for slot in opened.slots if slot.teacher == self._peer.keys.peer]
        if mine and opened.round not in self._taught:
            self._taught.add(opened.round)
            for slot in mine:
                self._later(TEACH_MS, self._commit_to_targets, opened, slot)

    def _commit_to_targets(self, opened: OpenRound, slot: Slot) -> None:
        commitment = self._peer.world.make_targets(self._peer, opened, slot)
        self._say(f"targets {opened.round} {slot.batch}", commitment, Mark.COMMITMENT)

    def _train(self) -> None:
        """Begin the batches that can be begun, one after the other."""
        for opened, slot in duties.list_slots(self._peer.state, self._peer.keys.peer):
            if opened.round not in self._begun and self._has_targets(opened, slot):
                self._begun.add(opened.round)
                began_ms = max(self._peer.now_ms, self._busy_until_ms)
                self._busy_until_ms = began_ms + self._peer.world.train_ms(self._peer.index)
                self._later(self._busy_until_ms - self._peer.now_ms, self._commit, opened, slot)

    def _has_targets(self, opened: OpenRound, slot: Slot) -> bool:
        """Whether nothing keeps a batch from being trained: a student needs good targets."""
        if slot.tier == 0 or not self._peer.world.schedule.is_distilling:
            return True
        return any(
            (signed.sender, signed.message.batch) == (slot.teacher, slot.batch)
            and signed.message.blob_hash not in self._peer.world.bad_targets
            for signed in self._peer.heard.commitments_of(opened.round)
        )

    def _examine(self, signed: Signed) -> None:
        """Say so if targets that have come are no good."""
        one: Commitment = signed.message
        if not self._peer.world.refuses(self._peer, one):
            return
        self._refused.add((one.round, one.batch))
        refusal = refusal_of(one, signed.sender)
        self._say(f"refusal {one.round} {one.batch}", refusal, Mark.STATEMENT)
        for opened in self._peer.state.open_rounds:
            if opened.round == one.round:
                self._attest_if_complete(opened)

    def _commit(self, opened: OpenRound, slot: Slot) -> None:
        commitment = self._peer.world.make_commitment(self._peer, opened, slot)
        envelope = self._say(opened.round, commitment, Mark.COMMITMENT)
        self._hold(as_signed(envelope))

    def _hold(self, signed: Signed) -> None:
        commitment: Commitment = signed.message
        self._holding.setdefault(commitment.round, []).append(signed)
        self._peer.world.monitor.on_holding(self._peer.keys.peer, commitment.blob_hash)
        for opened in self._peer.state.open_rounds:
            if opened.round == commitment.round and self._is_witness(opened.round):
                self._attest_if_complete(opened)

    def _held(self, opened: OpenRound) -> list[Signed]:
        """One valid blob a slot: of two from one trainer the first that came."""
        by_slot: dict[Any, Signed] = {}
        slots = {(slot.batch, slot.trainer) for slot in opened.slots}
        for signed in self._holding.get(opened.round, ()):
            key = (signed.message.batch, signed.sender)
            if key in slots:
                by_slot.setdefault(key, signed)
        return list(by_slot.values())

    def _attest_if_complete(self, opened: OpenRound) -> None:
        hopeless = sum((opened.round, slot.batch) in self._refused for slot in opened.slots)
        if len(self._holding.get(opened.round, ())) < len(opened.slots) - hopeless:
            return
        held = self._held(opened)
        if len(held) >= len(opened.slots) - hopeless:
            self._attest(opened, held)

    def _attest_late(self, opened: OpenRound) -> None:
        """Something is missing: say what is there, and look again."""
        if opened.round < self._peer.state.closed_count:
            return
        held = self._held(opened)
        if held:
            self._attest(opened, held)
        self._later(PATIENCE_MS, self._attest_late, opened)

    def _attest(self, opened: OpenRound, held: list[Signed]) -> None:
        if self._attested.get(opened.round, 0) >= len(held):
            return
        self._attested[opened.round] = len(held)
        attestation = duties.make_attestation(self._peer.state, self._peer.keys.peer, opened, held)
        self._say(-1 - opened.round, attestation, Mark.ATTESTATION)

    def _is_witness(self, round_index: RoundIndex) -> bool:
        me = self._peer.keys.peer
        opened = self._peer.state.open_rounds
        return any(one.round == round_index and me in one.committee for one in opened)

    def _ask_again(self, state: State) -> None:
        """Whoever was not warm in time for an epoch asks to be in the next one."""
        me, account = self._peer.keys.peer, state.find_account(self._peer.keys.peer)
        is_waiting = any(one.peer == me for one in state.applicants)
        if account is not None and not is_waiting and not account.is_banned:
            tier = self._peer.world.schedule.tier_of(self._peer.index)
            self._say("join", duties.make_join(account.nonce + 1, tier), Mark.STATEMENT)

    def _say_warm(self, key: tuple[Any, ...]) -> None:
        state = self._peer.state
        if key == self._phase_key and any(
            one.peer == self._peer.keys.peer for one in state.entrants
        ):
            self._say("warm", warm_statement(state), Mark.STATEMENT)

    def _say(self, name: int | str, message: Any, mark: Mark) -> Envelope:
        envelope = self._peer.say(message)
        self._said[name] = envelope
        text = type(message).__name__.lower()
        self._peer.world.trace.add(self._peer.now_ms, self._peer.index, mark, text)
        return envelope

    def _repeat(self, key: tuple[Any, ...]) -> None:
        """Nothing was decided for a while: what we said may have been lost."""
        if key != self._phase_key:
            return
        for envelope in self._said.values():
            if self._is_current(envelope.message):
                self._peer.world.send_all(self._peer.index, envelope)
        self._peer.look_soon()
        self._later(REPEAT_MS, self._repeat, key)

    def _is_current(self, message: Any) -> bool:
        if isinstance(message, (Commitment, Attestation, Refusal)):
            return message.round >= self._peer.state.closed_count
        state = self._peer.state
        expected = Phase.WAITING_FOR_MEMBERS if isinstance(message, Join) else Phase.WARMUP
        return state.phase is expected

    def _later(self, delay_ms: int, call: Any, *arguments: Any) -> None:
        """Call after a delay, unless the peer has restarted by then."""

        def run() -> None:
            if self._peer.is_online and self._peer.incarnation == self._incarnation:
                call(*arguments)

        self._peer.world.loop.call_at(self._peer.now_ms + delay_ms, run)
