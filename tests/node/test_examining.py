"""A witness looks at every teacher's targets, refuses those that are no good, and names whose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psyche_p2p.blobs import (
    BlobError,
    BlobStore,
    Origin,
    SealedBlob,
    seal_run_targets,
    seal_teacher_targets,
)
from psyche_p2p.codec import TopLogits
from psyche_p2p.config import RunConfig
from psyche_p2p.coordinator import Signed
from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import BatchInterval, BlobHash, EpochIndex, PeerId, RoundIndex, Tier
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.examining import Examiner
from psyche_p2p.observe import events
from psyche_p2p.wire import Commitment, Phase, Refusal
from psyche_p2p.wire.records import OpenRound, Slot
from tests.coordinator.world import SCHEMA, World, make_config, make_join

TOP_K = 5
TIERS = {1: 0, 2: 0, 3: 1}
FORMS = ("plain", "compact")


def config_of(form: str = "plain", **changes: Any) -> RunConfig:
    distillation = {"enabled": True, "top_k": TOP_K, "targets_form": form, "logits_to_keep": 8}
    distillation["targets_wait_s"] = 30.0
    return make_config(distillation=distillation | changes)


class Shelf:
    """What stands for the swarm: a blob is here, or it cannot be had."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self.asked: list[BlobHash] = []
        self.unacceptable: set[BlobHash] = set()

    async def fetch(self, blob: BlobHash, _find_sources: object) -> None:
        self.asked.append(blob)
        if blob in self.unacceptable:
            raise BlobError("a manifest of 3 chunks for 9 bytes, which are 1")
        if not self._store.has(blob):
            raise Unavailable("nobody has it")


class Bench:
    """A witness of a round with a student, and what it says."""

    def __init__(
        self, folder: Path, config: RunConfig, tiers: Mapping[int, int] | None = None
    ) -> None:
        self.config = config
        joins = {who: make_join(tier=tier) for who, tier in (tiers or TIERS).items()}
        self.world = World.start(config, joins)
        self.world.run_until(Phase.TRAIN)
        opened = self.world.state.head_round
        assert opened is not None
        self.opened: OpenRound = opened
        self.slot: Slot = next(one for one in opened.slots if one.teacher is not None)
        assert self.slot.teacher is not None
        self.teacher: PeerId = self.slot.teacher
        self.store = BlobStore.open(folder / "store", 1 << 30)
        self.shelf = Shelf(self.store)
        self.refusals: list[Refusal] = []
        self.events: list[events.Event] = []

    def examiner(self, me: PeerId | None = None) -> Examiner:
        witness = next(peer for peer in self.opened.committee if peer != self.teacher)
        desk = BlobDesk(self.config, SCHEMA, self.store, self.shelf, None)  # type: ignore[arg-type]
        return Examiner(
            me or witness,
            self.config.distillation,
            lambda: self.world.state,
            desk,
            self.refusals.append,
            self.events.append,
        )

    def origin(self, **changes: Any) -> Origin:
        origin = Origin(
            run_id=self.world.run_id,
            epoch=self.world.state.epoch,
            round=self.opened.round,
            tier=Tier(0),
            schema_hash=SCHEMA,
            batch=self.slot.batch,
            producer=self.teacher,
        )
        return replace(origin, **changes)

    def top(self, samples: int = 0) -> TopLogits:
        """Targets of a teacher that gives each of its k words the same tenth of the probability."""
        shape = (samples or self.slot.batch.size, 8, TOP_K)
        indices = np.broadcast_to(np.arange(0, 10 * TOP_K, 10), shape)
        logits = np.zeros(shape, np.float32)
        return TopLogits(indices, logits, np.full(shape[:2], np.log(10), np.float32))

    def committed(self, sealed: SealedBlob, **changes: Any) -> Signed:
        """The teacher's word for a blob that is here."""
        commitment = Commitment(
            epoch=self.world.state.epoch,
            round=self.opened.round,
            batch=self.slot.batch,
            blob_hash=self.store.add(sealed),
            size_bytes=sealed.manifest.size_bytes,
            payload_hash=sealed.header.payload_hash,
            tokens_per_s=0,
        )
        return self.world.say(self.teacher, replace(commitment, **changes))

    def plain(self, top: TopLogits) -> SealedBlob:
        """A plain blob of these targets, whatever they are."""
        return seal_teacher_targets(
            self.origin(),
            top.indices.astype(np.uint16),
            top.logits.astype(np.float16),
            top.logsumexp.astype(np.float32),
            tokens=self.slot.batch.size * 128,
            loss=0.0,
        )

    def bad(self) -> SealedBlob:
        """Targets that claim more than all of the probability."""
        return self.plain(replace(self.top(), logsumexp=self.top().logsumexp - 4))

    def sealed(self, top: TopLogits | None = None, **origin: Any) -> SealedBlob:
        return seal_run_targets(self.config, self.origin(**origin), top or self.top())


def bench(folder: Path, form: str = "plain", **changes: Any) -> Bench:
    return Bench(folder, config_of(form, **changes))


async def look(examiner: Examiner, *several: Signed) -> None:
    """Let an examiner take commitments, and be done with them."""
    for signed in several:
        examiner.take(signed)
    await asyncio.gather(*examiner._looks.values())


def changed(**fields: Callable[[TopLogits], Any]) -> Callable[[Bench], SealedBlob]:
    def seal(at: Bench) -> SealedBlob:
        top = at.top()
        return at.plain(replace(top, **{name: make(top) for name, make in fields.items()}))

    return seal


def elsewhere(**origin: Any) -> Callable[[Bench], SealedBlob]:
    return lambda at: at.sealed(**origin)


INVALID: dict[str, tuple[Callable[[Bench], SealedBlob], str]] = {
    "wrong batch": (elsewhere(batch=BatchInterval(900, 908)), "unexpected: batch [900, 908)"),
    "wrong round": (elsewhere(round=RoundIndex(7)), "unexpected: round 7"),
    "wrong epoch": (elsewhere(epoch=EpochIndex(7)), "unexpected: epoch 7"),
    "wrong tier": (elsewhere(tier=Tier(1)), "unexpected: tier 1"),
    "wrong shape": (
        changed(indices=lambda t: t.indices[..., :4], logits=lambda t: t.logits[..., :4]),
        "unexpected: tensors",
    ),
    "NaN": (changed(logits=lambda t: t.logits * np.float32("nan")), "not finite"),
    "infinity": (changed(logsumexp=lambda t: t.logsumexp + np.float32("inf")), "not finite"),
    "unsorted": (changed(indices=lambda t: t.indices[..., ::-1]), "do not rise strictly"),
    "beyond the vocabulary": (changed(indices=lambda t: t.indices + 250), "the vocabulary has"),
    "mass above 1": (changed(logsumexp=lambda t: t.logsumexp - 4), "of the probability"),
    "another form": (
        lambda at: seal_run_targets(config_of("compact"), at.origin(), at.top()),
        "unexpected: tensors",
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_targets_that_are_no_good_are_refused_and_the_teacher_is_named(
    tmp_path: Path, name: str
) -> None:
    make, reason = INVALID[name]
    at = bench(tmp_path)
    signed = at.committed(make(at))
    examiner = at.examiner()
    asyncio.run(look(examiner, signed, signed))
    one: Commitment = signed.message
    assert at.refusals == [Refusal(one.epoch, one.round, one.batch, at.teacher, one.blob_hash)]
    (accused,) = at.events
    assert isinstance(accused, events.Accused)
    assert accused.peer == at.teacher
    assert accused.reason.startswith(f"round {at.opened.round}: targets for batch {one.batch}")
    assert reason in accused.reason
    assert examiner.has_refused(at.opened.round, at.slot.batch)


def test_a_commitment_that_is_not_its_blobs_is_refused(tmp_path: Path) -> None:
    at = bench(tmp_path)
    good = at.sealed()
    too_small = at.committed(good, size_bytes=10)
    other_payload = at.committed(good, payload_hash=BlobHash(bytes(32)))
    for signed, reason in ((too_small, "size: "), (other_payload, "payload_hash ")):
        at.refusals.clear()
        asyncio.run(look(at.examiner(), signed))
        assert len(at.refusals) == 1
        assert reason in str(at.events.pop())


def test_a_blob_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    at = bench(tmp_path)
    signed = at.committed(at.sealed())
    at.shelf.unacceptable.add(signed.message.blob_hash)
    asyncio.run(look(at.examiner(), signed))
    assert len(at.refusals) == 1
    assert "3 chunks" in str(at.events)


@pytest.mark.parametrize("form", FORMS)
def test_good_targets_are_looked_at_once_and_nothing_is_said(tmp_path: Path, form: str) -> None:
    at = bench(tmp_path, form)
    signed = at.committed(at.sealed())
    examiner = at.examiner()
    asyncio.run(look(examiner, signed, signed))
    assert len(at.shelf.asked) == 1
    assert (at.refusals, at.events) == ([], [])
    assert not examiner.has_refused(at.opened.round, at.slot.batch)
    assert at.store.holders(signed.message.blob_hash) == []  # its room can be had again


def test_what_cannot_be_had_names_nobody_and_is_asked_for_again(tmp_path: Path) -> None:
    async def scenario(at: Bench) -> None:
        examiner = at.examiner()
        sealed = at.bad()
        signed = at.committed(sealed)
        at.store.remove(signed.message.blob_hash)
        await look(examiner, signed)
        assert (at.refusals, at.events) == ([], [])
        at.store.add(sealed)
        await asyncio.sleep(0)
        await look(examiner, signed)
        assert len(at.refusals) == 1

    at = bench(tmp_path)
    asyncio.run(scenario(at))


def test_only_the_committee_looks_and_only_at_what_a_teacher_owes(tmp_path: Path) -> None:
    at = bench(tmp_path)
    sealed = at.bad()
    signed = at.committed(sealed)
    stranger = next(p for p in at.world.people if p not in at.opened.committee)
    asyncio.run(look(at.examiner(stranger), signed))
    asyncio.run(look(at.examiner(at.teacher), signed))  # it would name itself
    others = [
        at.world.say(at.slot.trainer, signed.message),
        at.committed(sealed, batch=BatchInterval(900, 908)),
        at.committed(sealed, round=RoundIndex(9)),
    ]
    asyncio.run(look(at.examiner(), *others))
    assert (at.shelf.asked, at.refusals, at.events) == ([], [], [])


def test_before_distillation_begins_nobody_looks(tmp_path: Path) -> None:
    at = bench(tmp_path, start_round=5)
    signed = at.committed(at.bad())
    asyncio.run(look(at.examiner(), signed))
    assert at.shelf.asked == []


def test_a_student_off_the_committee_names_but_has_no_say(tmp_path: Path) -> None:
    async def scenario(at: Bench) -> None:
        examiner = at.examiner(next(p for p in at.world.people if p not in at.opened.committee))
        signed = at.committed(at.bad())
        assert "of the probability" in str(await examiner.examine(signed, at.opened))

    at = bench(tmp_path)
    asyncio.run(scenario(at))
    assert at.refusals == []
    assert len(at.events) == 1


def test_a_closed_round_is_forgotten(tmp_path: Path) -> None:
    async def scenario(at: Bench) -> None:
        examiner = at.examiner()
        signed = at.committed(at.bad())
        examiner.take(signed)
        (task,) = examiner._looks.values()
        examiner.forget_before(RoundIndex(at.opened.round + 1))
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert not examiner._looks
        assert not examiner.has_refused(at.opened.round, at.slot.batch)

    at = bench(tmp_path)
    asyncio.run(scenario(at))
