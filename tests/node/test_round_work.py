"""What a peer does in a distilling run's rounds: teach ahead of time, refuse, attest at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from psyche_p2p.coordinator import Signed
from psyche_p2p.coordinator.heard import Heard, as_signed
from psyche_p2p.ids import ParamRoot, PeerId, RoundIndex
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.joining import next_nonce
from psyche_p2p.node.rounds import ASK_AGAIN_MS, RoundWork
from psyche_p2p.train.messages import MakeTargets, Train
from psyche_p2p.wire import (
    Attestation,
    Envelope,
    Join,
    Refusal,
    Withdraw,
    open_envelope,
    seal,
)
from psyche_p2p.wire.commands import Release
from tests.coordinator.world import SCHEMA, World, admit, identity, make_commitment, make_join
from tests.node.test_examining import Bench, config_of

NEWCOMER = identity(30)


class Trainer:
    """Notes what it is asked for, in the order of the asking, and does nothing."""

    applied = RoundIndex(0)

    def __init__(self, world: World, me: PeerId) -> None:
        self._world = world
        self._me = me
        self.asked: list[tuple[str, int]] = []

    def roots_at(self, _param_round: RoundIndex) -> tuple[ParamRoot, ...]:
        return self._world.roots_of(self._me)

    def train(self, command: Train, _is_wanted: object, _done: object) -> None:
        self.asked.append(("train", command.round))

    def make_targets(self, command: MakeTargets, _is_wanted: object, _done: object) -> None:
        self.asked.append(("teach", command.round))


class Mouth:
    """Seals what is said, and keeps it."""

    def __init__(self, world: World, me: PeerId) -> None:
        self._world = world
        self._me = me
        self.said: list[Any] = []

    def say(self, message: Any) -> Envelope:
        self.said.append(message)
        run = self._world.run_id
        return open_envelope(seal(message, run, self._world.people[self._me]), run)


class NoTimers:
    """Time passes only when a test says so."""

    now_ms = 0

    def after(self, *_: object) -> None:
        """Nothing happens later."""


def work_of(
    at: Bench, me: PeerId, timers: NoTimers | None = None
) -> tuple[RoundWork, Trainer, Mouth]:
    trainer, mouth = Trainer(at.world, me), Mouth(at.world, me)
    desk = BlobDesk(at.config, SCHEMA, at.store, at.shelf, None)  # type: ignore[arg-type]
    work = RoundWork(
        me,
        lambda: at.world.state,
        Heard(),
        mouth,  # type: ignore[arg-type]
        trainer,
        desk,
        timers or NoTimers(),  # type: ignore[arg-type]
        lambda state: make_join(nonce=next_nonce(state, me, 0)),
        lambda _: None,
        at.config.distillation,
    )
    return work, trainer, mouth


def test_a_teacher_is_a_round_ahead_of_its_students(tmp_path: Path) -> None:
    """With a pipeline, targets are made when a round opens: its students train another then."""

    async def scenario() -> None:
        at = Bench(tmp_path, config_of(), tiers={1: 0, 2: 1})
        work, trainer, _ = work_of(at, at.teacher)
        work.on_state()
        assert trainer.asked == [("teach", 0), ("train", 0), ("teach", 1), ("train", 1)]
        assert at.world.step()
        work.on_state()
        assert at.world.state.head_round is not None
        assert at.world.state.head_round.round == 1  # what its students train now
        assert trainer.asked[4:] == [("teach", 2), ("train", 2)]
        await work.close()

    asyncio.run(scenario())


def test_who_refused_targets_does_not_wait_for_their_student(tmp_path: Path) -> None:
    async def scenario() -> None:
        at = Bench(tmp_path, config_of())
        witness = next(p for p in at.opened.committee if p not in (at.teacher, at.slot.trainer))
        work, _, mouth = work_of(at, witness)
        work.on_state()
        others = [slot for slot in at.opened.slots if slot.trainer != at.slot.trainer]
        for slot in others:
            made = make_commitment(at.world.state, at.opened, slot)
            work._intake.hold(at.world.say(slot.trainer, made))
        assert mouth.said == []
        bad = at.committed(at.bad())
        work.on_statement(_envelope(at, bad))
        (task,) = work._examiner._looks.values()
        await task
        refusal, attestation = mouth.said
        assert isinstance(refusal, Refusal)
        assert refusal.teacher == at.teacher
        assert isinstance(attestation, Attestation)
        assert {one.batch for one in attestation.blobs} == {one.batch for one in others}
        await work.close()

    asyncio.run(scenario())


def test_whoever_is_no_member_asks_until_a_block_has_its_join(tmp_path: Path) -> None:
    """Rounds close faster than anything is repeated, and a first join may reach nobody."""

    async def scenario() -> None:
        at, timers = Bench(tmp_path, config_of()), NoTimers()
        at.world.people[NEWCOMER.peer_id] = NEWCOMER
        work, _, mouth = work_of(at, NEWCOMER.peer_id, timers)
        for _ in range(2):  # a round later it still waits
            work.on_state()
            assert [type(one) for one in mouth.said] == [Join]
            assert at.world.step()
        timers.now_ms = ASK_AGAIN_MS
        work.on_state()
        assert [one.nonce for one in mouth.said] == [0, 0]
        at.world.decide(admit(NEWCOMER, make_join(nonce=5), at.world.run_id))
        assert at.world.step()
        timers.now_ms *= 2
        work.on_state()
        assert len(mouth.said) == 2
        await work.close()

    asyncio.run(scenario())


def test_a_join_that_was_taken_back_is_followed_by_a_newer_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        at = Bench(tmp_path, config_of(), tiers={1: 0, 2: 0, 3: 1, 4: 0})
        me = next(one for one in at.world.state.active_members if one.peer != at.teacher).peer
        work, _, mouth = work_of(at, me)
        for nonce in (2, 4):
            at.world.decide(_release(at, me, nonce))
            assert at.world.step()
            work.on_state()
            assert mouth.said[-1].nonce == nonce + 1
            at.world.decide(admit(at.world.people[me], mouth.said[-1], at.world.run_id))
        await work.close()

    asyncio.run(scenario())


def _release(at: Bench, peer: PeerId, nonce: int) -> Release:
    said = at.world.say(peer, Withdraw(at.world.state.epoch, "", nonce))
    return Release(peer, said.message, said.signature)


def _envelope(at: Bench, signed: Signed) -> Envelope:
    run = at.world.run_id
    envelope = open_envelope(seal(signed.message, run, at.world.people[signed.sender]), run)
    assert as_signed(envelope) == signed
    return envelope
