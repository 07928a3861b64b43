"""Teachers and students of a round: targets made, told of, fetched, waited for (docs/design.md).

A teacher commits to its targets as it does to an update, under the student's batch; a block lists
them only where the committee refuses them (`examining`). A student whose targets do not come, or
are not what they should be, is told so by its trainer and contributes nothing to that round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from psyche_p2p.config import DistillationConfig
from psyche_p2p.coordinator import Signed
from psyche_p2p.coordinator.heard import Heard
from psyche_p2p.distill.schedule import needs_targets
from psyche_p2p.errors import StorageError
from psyche_p2p.ids import BatchInterval, BlobHash, EpochIndex, PeerId, RoundIndex
from psyche_p2p.log import get_logger
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.examining import Examiner
from psyche_p2p.node.voice import Voice
from psyche_p2p.train.messages import MakeTargets, TargetsMade
from psyche_p2p.wire import Commitment
from psyche_p2p.wire.records import OpenRound, Slot

GoOn = Callable[[str], None]
Lesson = tuple[RoundIndex, BatchInterval]
_log = get_logger(__name__)


class Teacher(Protocol):
    """The trainer, where it can be asked for targets."""

    def make_targets(
        self,
        command: MakeTargets,
        is_wanted: Callable[[], bool],
        done: Callable[[TargetsMade], None],
    ) -> None:
        """Compute targets when their turn comes."""


class Teaching:
    """This peer's part in the teaching of every round that has any."""

    def __init__(
        self,
        me: PeerId,
        config: DistillationConfig,
        heard: Heard,
        voice: Voice,
        blobs: BlobDesk,
        teacher: Teacher,
        examiner: Examiner,
        is_open: Callable[[RoundIndex], bool],
    ) -> None:
        self._me = me
        self._config = config
        self._heard = heard
        self._voice = voice
        self._blobs = blobs
        self._teacher = teacher
        self._examiner = examiner
        self._is_open = is_open
        self._taught: set[Lesson] = set()
        self._awaited: dict[Lesson, asyncio.Future[Signed]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def is_student(self, opened: OpenRound, slot: Slot) -> bool:
        """Whether this slot's trainer needs a teacher's targets."""
        return slot.tier > 0 and needs_targets(self._config, opened.round)

    def teach(self, epoch: EpochIndex, opened: OpenRound) -> None:
        """Make the targets of those whom this round makes our students."""
        for slot in opened.slots:
            lesson = (opened.round, slot.batch)
            if slot.teacher != self._me or not self.is_student(opened, slot):
                continue
            if lesson not in self._taught:
                self._taught.add(lesson)
                self._make(epoch, lesson)

    def learn(self, opened: OpenRound, slot: Slot, go_on: GoOn) -> None:
        """Go on with the blob of our targets, or with none when they did not come in time."""
        task = asyncio.create_task(self._learn(opened, slot, go_on), name="await-targets")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def on_commitment(self, signed: Signed) -> None:
        """Perhaps what a student here waits for."""
        commitment: Commitment = signed.message
        waiting = self._awaited.get((commitment.round, commitment.batch))
        if waiting is not None and not waiting.done():
            waiting.set_result(signed)

    def forget_before(self, first: RoundIndex) -> None:
        self._taught = {one for one in self._taught if one[0] >= first}

    async def close(self) -> None:
        """Wait for nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _make(self, epoch: EpochIndex, lesson: Lesson) -> None:
        round_index, batch = lesson
        command = MakeTargets(epoch, round_index, batch.start, batch.end)
        self._teacher.make_targets(
            command,
            lambda: self._is_open(round_index),
            lambda made: self._commit(epoch, lesson, made),
        )

    def _commit(self, epoch: EpochIndex, lesson: Lesson, made: TargetsMade) -> None:
        round_index, batch = lesson
        commitment = Commitment(
            epoch=epoch,
            round=round_index,
            batch=batch,
            blob_hash=BlobHash(bytes.fromhex(made.blob)),
            size_bytes=made.size_bytes,
            payload_hash=BlobHash(bytes.fromhex(made.payload)),
            tokens_per_s=0,
        )
        self._blobs.keep(commitment.blob_hash, round_index)
        self._voice.say(commitment)
        _log.debug("targets made", round=round_index, bytes=made.size_bytes, mass=made.top_mass)

    async def _learn(self, opened: OpenRound, slot: Slot, go_on: GoOn) -> None:
        blob = None
        try:
            obtained = self._obtain(opened, slot)
            blob = await asyncio.wait_for(obtained, self._config.targets_wait_s)
        except asyncio.TimeoutError:
            _log.warning("targets have not come", round=opened.round, batch=str(slot.batch))
        except StorageError as error:
            _log.warning("targets cannot be kept", round=opened.round, cause=str(error))
        go_on("" if blob is None else blob.hex())

    async def _obtain(self, opened: OpenRound, slot: Slot) -> BlobHash | None:
        """The targets in our store, good or bad: the trainer says what is wrong with them."""
        if slot.teacher is None:
            return None
        signed = await self._hear_of(opened.round, slot)
        commitment: Commitment = signed.message
        await asyncio.to_thread(self._blobs.keep, commitment.blob_hash, opened.round)
        reason = await asyncio.shield(self._examiner.examine(signed, opened))
        return None if reason is None else commitment.blob_hash

    async def _hear_of(self, round_index: RoundIndex, slot: Slot) -> Signed:
        """The teacher's commitment, heard already or yet to come."""
        lesson = (round_index, slot.batch)
        for signed in self._heard.commitments_of(round_index):
            if (signed.sender, signed.message.batch) == (slot.teacher, slot.batch):
                return signed
        while True:
            future = asyncio.get_running_loop().create_future()
            self._awaited[lesson] = future
            try:
                found: Signed = await future
            finally:
                self._awaited.pop(lesson, None)
            if found.sender == slot.teacher:
                return found
