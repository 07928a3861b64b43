"""Bad targets name their teacher and excuse its students; no minority can name an honest one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from psyche_p2p.coordinator import Pool, Signed, due_commands
from psyche_p2p.coordinator.pool import make_close_round
from psyche_p2p.coordinator.promised import contribution_of
from psyche_p2p.coordinator.refusals import refusal_of
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import BlobHash, PeerId, RoundIndex
from psyche_p2p.node.misconduct import find_misconduct
from psyche_p2p.wire import Phase
from psyche_p2p.wire.commands import CloseRound, RefusedTargets, WitnessSignature
from psyche_p2p.wire.records import Member, MemberStatus, Slot
from tests.coordinator.closing import head
from tests.coordinator.world import (
    World,
    identity,
    make_config,
    make_join,
    make_targets_commitment,
)

TIERS = {1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 2, 7: 2}  # seven witnesses: two may lie, five decide


def teaching(tiers: dict[int, int] | None = None) -> World:
    """A distilling run whose second round is open: it knows how long a round takes."""
    joins = {index: make_join(tier=tier) for index, tier in (tiers or TIERS).items()}
    teaching = {"enabled": True, "targets_wait_s": 30.0}
    config = make_config(distillation=teaching, members={"max_missed_rounds": 2})
    world = World.start(config, joins)
    world.run_until(Phase.TRAIN, rounds=1)
    return world


def first_lesson(world: World) -> tuple[int, Slot, PeerId]:
    """The first slot with a teacher, by its index."""
    for index, slot in enumerate(head(world).slots):
        if slot.teacher is not None:
            return index, slot, slot.teacher
    raise AssertionError("a round without students")


def member(world: World, peer: PeerId) -> Member:
    found = world.state.find_member(peer)
    assert found is not None
    return found


def refusing(world: World, targets: Signed, witnesses: Iterable[PeerId]) -> tuple[Signed, ...]:
    refusal = refusal_of(targets.message, targets.sender)
    return tuple(world.say(witness, refusal) for witness in witnesses)


def good_targets(world: World) -> Signed:
    """What the first teacher committed to, and why a liar would say that it is bad."""
    _, slot, teacher = first_lesson(world)
    return world.say(teacher, make_targets_commitment(world.state, head(world), slot))


def closing(world: World) -> CloseRound:
    return make_close_round(world.state, head(world), world.heard())


def named(world: World, command: CloseRound) -> list[PeerId]:
    """Whom everyone names who reads the block with this command."""
    before = world.state
    after = world.decide(command)
    return [one.peer for one in find_misconduct(before, after, world.blocks[-1])]


def test_the_log_names_the_teacher_and_does_not_wait_for_its_students() -> None:
    world = teaching()
    index, slot, teacher = first_lesson(world)
    world.bad_teachers = {teacher}
    students = [one.trainer for one in head(world).slots if one.teacher == teacher]
    command = closing(world)
    assert [one.targets.slot for one in command.refused] == [index]
    assert len(command.refused[0].witnesses) == 5
    assert named(world, command) == [teacher]  # at once: no time has passed
    assert member(world, teacher).missed_rounds == 1
    assert slot.trainer in students
    for student in students:
        assert member(world, student).missed_rounds == 0
        assert member(world, student).silent_rounds == 0
    assert all(slot.batch != one.batch for one in world.state.closed_rounds[-1].accepted)


def test_without_a_refusal_the_students_are_waited_for_and_have_missed_it() -> None:
    """What the refusal is worth: the same round with teachers that say nothing."""
    world = teaching()
    _, slot, teacher = first_lesson(world)
    world.bad_teachers = {teacher}
    silent = replace(closing(world), refused=())
    with pytest.raises(Rejected, match="batches that can be expected have not come"):
        world.decide(silent)
    world.wait(60)
    world.decide(silent)
    assert member(world, slot.trainer).missed_rounds == 1
    assert member(world, teacher).missed_rounds == 0


def test_who_teaches_badly_again_and_again_is_dropped() -> None:
    world = teaching({1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1})
    culprit = first_lesson(world)[2]
    world.bad_teachers = {culprit}
    in_a_row = 0
    while member(world, culprit).status is MemberStatus.ACTIVE:
        is_teaching = any(slot.teacher == culprit for slot in head(world).slots)
        is_named = culprit in named(world, closing(world))
        assert is_named == is_teaching
        in_a_row = in_a_row + 1 if is_named else 0
        assert member(world, culprit).missed_rounds == in_a_row
    assert in_a_row == world.state.rules.max_missed_rounds
    assert member(world, culprit).status is MemberStatus.DROPPED
    others = [one for one in world.state.members if one.peer != culprit]
    assert {(one.status, one.missed_rounds) for one in others} == {(MemberStatus.ACTIVE, 0)}


def test_a_teacher_without_whom_nobody_holds_the_model_is_named_and_stays() -> None:
    world = teaching({1: 0, 2: 1, 3: 1, 4: 1})
    culprit = identity(1).peer_id
    world.bad_teachers = {culprit}
    for _ in range(4):
        assert named(world, closing(world)) == [culprit]
    assert member(world, culprit).status is MemberStatus.ACTIVE
    assert all(one.missed_rounds == 0 for one in world.state.members if one.peer != culprit)


def test_a_minority_of_witnesses_and_the_student_cannot_name_an_honest_teacher() -> None:
    world = teaching()
    _, slot, teacher = first_lesson(world)
    targets = good_targets(world)
    others = [peer for peer in head(world).committee if peer not in (teacher, slot.trainer)]
    for liars in ([slot.trainer], [slot.trainer, *others[:1]], [slot.trainer, *others[:3]]):
        lies = refusing(world, targets, liars)
        world.pool = Pool(commitments=(targets,), refusals=lies)
        assert closing(world).refused == ()
        forged = _forge(world, targets, lies)
        with pytest.raises(Rejected, match=f"{len(liars)} refusals of 5 needed"):
            world.decide(forged)
    assert named(world, closing(world)) == []
    assert {one.missed_rounds for one in world.state.members} == {0}


def test_liars_cannot_lend_their_words_to_what_others_said() -> None:
    """A quorum for one blob, round or batch says nothing about another."""
    world = teaching()
    index, slot, teacher = first_lesson(world)
    state, opened = world.state, head(world)
    committee = list(opened.committee)
    other = world.say(teacher, make_targets_commitment(state, opened, slot, b"other"))
    mine = good_targets(world)
    two, three = refusing(world, mine, committee[:2]), refusing(world, other, committee[2:5])
    world.pool = Pool(commitments=(mine,), refusals=(*two, *three))
    assert closing(world).refused == ()
    with pytest.raises(Rejected, match="did not sign this Refusal"):
        world.decide(_forge(world, mine, (*two, *three)))
    later = replace(mine.message, round=RoundIndex(opened.round + 1))
    words = tuple(world.say(peer, refusal_of(later, teacher)) for peer in committee[:5])
    with pytest.raises(Rejected, match="did not sign this Refusal"):
        world.decide(_forge(world, mine, words))
    strangers = tuple(
        world.say(identity(number).peer_id, refusal_of(mine.message, teacher))
        for number in range(20, 25)
    )
    world.pool = Pool(commitments=(mine,), refusals=strangers)
    assert closing(world).refused == ()
    assert index == closing(world).contributions[index].slot


def test_nobody_is_named_for_a_blob_it_did_not_commit_to() -> None:
    world = teaching()
    targets = good_targets(world)
    all_lie = refusing(world, targets, head(world).committee)
    world.pool = Pool(refusals=all_lie)
    assert closing(world).refused == ()  # not even a quorum of liars can
    invented = replace(targets, signature=closing(world).contributions[0].signature)
    with pytest.raises(Rejected, match="did not sign this Commitment"):
        world.decide(_forge(world, invented, all_lie[:5]))


def test_only_the_committee_that_is_left_has_a_say() -> None:
    world = teaching()
    targets = good_targets(world)
    words = refusing(world, targets, head(world).committee)
    gone = member(world, head(world).committee[0])
    left = replace(gone, status=MemberStatus.WITHDRAWN)
    world.state = replace(
        world.state,
        members=tuple(left if one is gone else one for one in world.state.members),
    )
    with pytest.raises(Rejected, match="is no longer a member"):
        world.decide(_forge(world, targets, words[:5]))
    world.pool = Pool(commitments=(targets,), refusals=words)
    (refused,) = closing(world).refused
    assert [one.witness for one in refused.witnesses] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda one, _: (one, one), "do not stand once each"),
        (lambda one, _: (_at_slot(one, 99),), "slot 99 of 7 does not exist"),
        (lambda one, free: (_at_slot(one, free),), "has no teacher"),
        (
            lambda one, _: (replace(one, witnesses=one.witnesses[::-1]),),
            "witnesses do not stand once",
        ),
        (
            lambda one, _: (
                replace(one, witnesses=(*one.witnesses[:4], replace(one.witnesses[4], witness=7))),
            ),
            "witness 7 of 7 does not exist",
        ),
        (
            lambda one, _: (
                replace(one, targets=replace(one.targets, blob_hash=BlobHash(bytes(32)))),
            ),
            "did not sign this Commitment",
        ),
    ],
)
def test_what_is_not_a_proof_refuses_the_block(break_it: object, reason: str) -> None:
    assert callable(break_it)
    world = teaching()
    world.bad_teachers = {first_lesson(world)[2]}
    command = closing(world)
    free = next(i for i, slot in enumerate(head(world).slots) if slot.teacher is None)
    with pytest.raises(Rejected, match=reason):
        world.decide(replace(command, refused=break_it(command.refused[0], free)))


def test_a_teacher_is_named_once_a_round_however_many_it_betrayed() -> None:
    world = teaching({1: 0, 2: 1, 3: 1, 4: 1, 5: 1})
    world.bad_teachers = {identity(1).peer_id}
    command = closing(world)
    assert len(command.refused) == 1
    assert named(world, command) == [identity(1).peer_id]
    assert len(world.state.closed_rounds[-1].accepted) == 1
    world = teaching({1: 0, 2: 1, 3: 1, 4: 1, 5: 1})
    opened = head(world)
    both = [
        world.say(slot.teacher, make_targets_commitment(world.state, opened, slot))
        for slot in opened.slots
        if slot.teacher is not None
    ][:2]
    proofs = [_forge(world, one, refusing(world, one, opened.committee[:4])) for one in both]
    twice = replace(proofs[0], refused=(*proofs[0].refused, *proofs[1].refused))
    with pytest.raises(Rejected, match="named once a round"):
        world.decide(twice)


def test_the_order_in_which_one_heard_does_not_matter() -> None:
    world = teaching()
    world.bad_teachers = {identity(number).peer_id for number in (1, 2)}
    heard = world.heard()
    expected, rng = make_close_round(world.state, head(world), heard), random.Random(1)
    assert expected.refused
    for _ in range(5):
        shuffled = replace(
            heard,
            commitments=tuple(rng.sample(heard.commitments, len(heard.commitments))),
            refusals=tuple(rng.sample(heard.refusals, len(heard.refusals))),
        )
        assert make_close_round(world.state, head(world), shuffled) == expected


def test_a_round_with_bad_targets_is_due_without_a_wait() -> None:
    world = teaching()
    world.bad_teachers = {first_lesson(world)[2]}
    (command,) = due_commands(world.state, world.heard(), world.clock_ms)
    assert isinstance(command, CloseRound)
    assert command.refused


def _at_slot(one: RefusedTargets, slot: int) -> RefusedTargets:
    return replace(one, targets=replace(one.targets, slot=slot))


def _forge(world: World, targets: Signed, words: Iterable[Signed]) -> CloseRound:
    """A lying proposer's CloseRound: these words stand for the first witnesses' refusals."""
    opened = head(world)
    slot = next(
        index
        for index, one in enumerate(opened.slots)
        if (one.batch, one.teacher) == (targets.message.batch, targets.sender)
    )
    signatures = {opened.committee.index(one.sender): one.signature for one in words}
    proof = RefusedTargets(
        contribution_of(slot, targets.message, targets.signature),
        tuple(WitnessSignature(index, signatures[index]) for index in sorted(signatures)),
    )
    honest = make_close_round(world.state, opened, replace(world.heard(), refusals=()))
    return replace(honest, refused=(proof,))
