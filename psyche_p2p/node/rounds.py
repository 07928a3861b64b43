"""What the log asks of this peer: train, fetch, witness, say so, and say it again if unheard."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from psyche_p2p.config import DistillationConfig
from psyche_p2p.coordinator import (
    Signed,
    State,
    closing_voters,
    final_attestation,
    order_blobs,
    warm_statement,
)
from psyche_p2p.coordinator.heard import Heard, as_signed
from psyche_p2p.distill.stats import log_statistics
from psyche_p2p.ids import BlobHash, ParamRoot, PeerId, RoundIndex
from psyche_p2p.log import get_logger
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.examining import Examiner
from psyche_p2p.node.intake import Intake, find_open_round
from psyche_p2p.node.teaching import Teacher, Teaching
from psyche_p2p.node.timers import Timers
from psyche_p2p.node.voice import Voice
from psyche_p2p.observe import events
from psyche_p2p.train.messages import Train, Trained
from psyche_p2p.wire import Attestation, AttestedBlob, Commitment, Envelope, Join, Phase, Refusal
from psyche_p2p.wire.records import OpenRound, Slot

REPEAT_MS = 2000
ASK_AGAIN_MS = 10_000
"""A join that no block has by then may have been lost where there was nobody to hear it."""
PATIENCE_MS = 2000
"""A witness that still lacks blobs says after this long what it holds."""
_log = get_logger(__name__)


class Held(Teacher, Protocol):
    """What this peer knows of the parameters; a witness without a model knows nothing of them."""

    @property
    def applied(self) -> RoundIndex:
        """How many rounds our parameters have had."""

    def roots_at(self, param_round: RoundIndex) -> tuple[ParamRoot, ...] | None:
        """Our roots after so many rounds; None while they are not known."""

    def train(
        self, command: Train, is_wanted: Callable[[], bool], done: Callable[[Trained], None]
    ) -> None:
        """Train a batch in its turn."""


class RoundWork:
    """Trains, holds, attests; what was said is said again while nothing is decided."""

    def __init__(
        self,
        me: PeerId,
        state: Callable[[], State],
        heard: Heard,
        voice: Voice,
        held: Held,
        blobs: BlobDesk,
        timers: Timers,
        make_join: Callable[[State], Join],
        emit: Callable[[events.Event], None],
        distillation: DistillationConfig,
    ) -> None:
        self._me = me
        self._state = state
        self._heard = heard
        self._voice = voice
        self._parameters = held
        self._blobs = blobs
        self._timers = timers
        self._make_join = make_join
        self._emit = emit
        self._examiner = Examiner(me, distillation, state, blobs, self._refuse, emit)
        self._teaching = Teaching(
            me,
            distillation,
            heard,
            voice,
            blobs,
            held,
            self._examiner,
            lambda index: self._open_round(index) is not None,
        )
        self._intake = Intake(state, blobs, self._on_held, emit)
        self.is_leaving = False
        self._begun: set[RoundIndex] = set()
        self._said: dict[int | str, Envelope] = {}
        self._attested: dict[RoundIndex, int] = {}
        self._phase_key: tuple[Any, ...] = ()
        self._asked_at_ms = 0

    # What happens

    def on_state(self) -> None:
        """The head moved: take up what the new state asks for."""
        state = self._state()
        self._forget_before(state.closed_count)
        key = (state.phase, state.epoch, state.closed_count)
        if key == self._phase_key:
            return
        self._phase_key = key
        self._said = {k: v for k, v in self._said.items() if self._is_current(v.message)}
        self._take_up(state)
        self._timers.after(REPEAT_MS, self._repeat, key)

    def on_parameters(self) -> None:
        """Our parameters moved, or are known at last."""
        state = self._state()
        if state.phase in (Phase.WARMUP, Phase.COOLDOWN):
            self._take_up(state)

    def on_statement(self, envelope: Envelope) -> None:
        """Somebody committed to a blob: fetch it."""
        if isinstance(envelope.message, Commitment):
            self._teaching.on_commitment(as_signed(envelope))
            self._look_at(as_signed(envelope))

    async def close(self) -> None:
        """Stop fetching."""
        await self._teaching.close()
        await self._examiner.close()
        await self._intake.close()

    def _take_up(self, state: State) -> None:
        match state.phase:
            case Phase.WAITING_FOR_MEMBERS | Phase.PAUSED:
                self._ask_to_join(state)
            case Phase.WARMUP:
                self._ask_to_join(state)
                self._say_warm(state)
            case Phase.TRAIN:
                self._ask_to_join(state)
                self._work_on_rounds(state)
            case Phase.COOLDOWN:
                self._say_final(state)
            case _:
                pass

    # Joining, beginning and ending an epoch

    def _ask_to_join(self, state: State) -> None:
        """Whoever has no part in this epoch or the next asks to be in the next."""
        if self.is_leaving or self._takes_part(state) or self._waits_for_answer(state):
            return
        account = state.find_account(self._me)
        if account is not None and account.is_banned:
            return
        self._asked_at_ms = self._timers.now_ms
        self._say("join", self._make_join(state))

    def _waits_for_answer(self, state: State) -> bool:
        """Whether a join of ours that may still be decided was said lately."""
        said = self._said.get("join")
        is_new = said is not None and _is_newer(said.message, state, self._me)
        return is_new and self._timers.now_ms < self._asked_at_ms + ASK_AGAIN_MS

    def _takes_part(self, state: State) -> bool:
        waiting = {one.peer for one in (*state.applicants, *state.entrants)}
        return self._me in waiting or self._me in {one.peer for one in state.active_members}

    def _say_warm(self, state: State) -> None:
        is_entering = any(one.peer == self._me for one in state.entrants)
        if is_entering and "warm" not in self._said and self._has(state, state.param_round):
            self._say("warm", warm_statement(state))

    def _say_final(self, state: State) -> None:
        roots = self._parameters.roots_at(state.closed_count)
        if roots is not None and self._me in closing_voters(state) and "final" not in self._said:
            self._say("final", final_attestation(state, roots))

    def _has(self, state: State, param_round: RoundIndex) -> bool:
        """Whether we hold exactly the parameters that the log names."""
        roots = self._parameters.roots_at(param_round)
        return roots is not None and roots == state.param_roots[: len(roots)]

    # Rounds

    def _work_on_rounds(self, state: State) -> None:
        for opened in state.open_rounds:
            self._teaching.teach(state.epoch, opened)  # before we train: students wait for it
            for slot in opened.slots:
                if slot.trainer == self._me and opened.round not in self._begun:
                    self._begin(state, opened, slot)
            for signed in list(self._heard.commitments_of(opened.round)):
                self._look_at(signed)
            self._attest_if_complete(opened)
            self._timers.after(PATIENCE_MS, self._attest_late, opened)

    def _begin(self, state: State, opened: OpenRound, slot: Slot) -> None:
        """Train a batch: at once, or as soon as its teacher's targets are here."""
        self._begun.add(opened.round)
        if self._teaching.is_student(opened, slot):
            go_on = partial(self._train, state, opened, slot)
            self._teaching.learn(opened, slot, go_on)
        else:
            self._train(state, opened, slot)

    def _train(self, state: State, opened: OpenRound, slot: Slot, targets: str = "") -> None:
        command = Train(
            epoch=state.epoch,
            round=opened.round,
            batch_start=slot.batch.start,
            batch_end=slot.batch.end,
            learning_rate_bits=opened.learning_rate_bits,
            teacher=slot.teacher or "",
            targets=targets,
        )
        self._parameters.train(
            command,
            lambda: self._open_round(opened.round) is not None,
            lambda trained: self._commit(slot, state, trained),
        )

    def _commit(self, slot: Slot, state: State, trained: Trained) -> None:
        self._emit(
            events.Trained(
                trained.round,
                slot.batch.start,
                slot.batch.end,
                trained.loss,
                trained.tokens,
                trained.seconds,
            )
        )
        if trained.distillation is not None:
            log_statistics(trained.distillation, trained.round)
        commitment = Commitment(
            epoch=state.epoch,
            round=RoundIndex(trained.round),
            batch=slot.batch,
            blob_hash=BlobHash(bytes.fromhex(trained.blob)),
            size_bytes=trained.size_bytes,
            payload_hash=BlobHash(bytes.fromhex(trained.payload)),
            tokens_per_s=int(trained.tokens / max(trained.seconds, 1e-3)),
        )
        self._blobs.keep(commitment.blob_hash, commitment.round)
        self._intake.hold(as_signed(self._say(trained.round, commitment)))

    def _look_at(self, signed: Signed) -> None:
        """A trainer's contribution, or a teacher's targets: fetch and check it."""
        self._intake.take(signed)
        self._examiner.take(signed)

    def _refuse(self, refusal: Refusal) -> None:
        """Say that targets are no good, and do not wait for whoever needed them."""
        self._say(f"refusal {refusal.round} {refusal.batch}", refusal)
        self._on_held(refusal.round)

    def _attest_if_complete(self, opened: OpenRound) -> None:
        """Attest once there is no more to come."""
        held = {one.message.batch for one in self._intake.held(opened.round)}
        has_refused = self._examiner.has_refused
        if all(one.batch in held or has_refused(opened.round, one.batch) for one in opened.slots):
            self._attest(opened)

    def _attest_late(self, opened: OpenRound) -> None:
        """Something is missing: say what is there, and look again."""
        if self._open_round(opened.round) is None:
            return
        if self._intake.held(opened.round):
            self._attest(opened)
        for signed in list(self._heard.commitments_of(opened.round)):
            self._look_at(signed)
        self._timers.after(PATIENCE_MS, self._attest_late, opened)

    def _attest(self, opened: OpenRound) -> None:
        """Say what we hold of a round, and which parameters we reached before it opened."""
        state = self._state()
        held = self._intake.held(opened.round)
        reached = self._reached(state, opened)
        if self._me not in opened.committee or reached is None:
            return
        if self._attested.get(opened.round, 0) >= len(held):
            return
        self._attested[opened.round] = len(held)
        blobs = (AttestedBlob(one.message.batch, one.sender, one.message.blob_hash) for one in held)
        param_round, roots = reached
        statement = Attestation(state.epoch, opened.round, order_blobs(blobs), param_round, roots)
        self._say(-1 - opened.round, statement)
        self._emit(self._attested_event(opened))

    def _attested_event(self, opened: OpenRound) -> events.Attested:
        fetch_s, check_s = self._intake.mean_times_s(opened.round)
        return events.Attested(
            round=opened.round,
            held=len(self._intake.held(opened.round)),
            slots=len(opened.slots),
            fetch_s=round(fetch_s, 4),
            check_s=round(check_s, 4),
        )

    def _reached(
        self, state: State, opened: OpenRound
    ) -> tuple[RoundIndex, tuple[ParamRoot, ...]] | None:
        """The parameters this round's training began with, which all can have reached by now.

        Whoever is behind names what it has; whoever does not know what it has says nothing.
        """
        canonical = RoundIndex(
            max(state.rules.first_round, opened.round - state.rules.pipeline_depth)
        )
        for param_round in (canonical, self._parameters.applied):
            roots = self._parameters.roots_at(param_round)
            if roots is not None and param_round <= state.closed_count:
                return param_round, roots
        return None

    # Saying and repeating

    def _say(self, name: int | str, message: Any) -> Envelope:
        envelope = self._voice.say(message)
        self._said[name] = envelope
        return envelope

    def _repeat(self, key: tuple[Any, ...]) -> None:
        """Nothing was decided for a while: what we said may have been lost."""
        if key != self._phase_key:
            return
        for envelope in self._said.values():
            if self._is_current(envelope.message):
                self._voice.repeat(envelope)
        self._take_up(self._state())
        self._timers.after(REPEAT_MS, self._repeat, key)

    def _is_current(self, message: Any) -> bool:
        state = self._state()
        match message:
            case Commitment() | Attestation() | Refusal():
                is_final = state.phase is Phase.COOLDOWN and message.epoch == state.epoch
                return is_final or message.round >= state.closed_count
            case Join():
                return not self._takes_part(state) and _is_newer(message, state, self._me)
            case _:
                return state.phase is Phase.WARMUP and message.epoch == state.epoch

    def _open_round(self, index: RoundIndex | int) -> OpenRound | None:
        return find_open_round(self._state(), index)

    def _on_held(self, index: RoundIndex) -> None:
        opened = self._open_round(index)
        if opened is not None:
            self._attest_if_complete(opened)

    def _forget_before(self, first: RoundIndex) -> None:
        self._intake.forget_before(first)
        self._teaching.forget_before(first)
        self._examiner.forget_before(first)
        self._begun = {one for one in self._begun if one >= first}
        self._attested = {k: v for k, v in self._attested.items() if k >= first}


def _is_newer(join: Join, state: State, peer: PeerId) -> bool:
    """Whether the log has nothing as new as this of a peer's coming and going."""
    account = state.find_account(peer)
    return account is None or join.nonce > account.nonce
