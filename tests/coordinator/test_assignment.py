"""Assignment: everything once, nothing twice, little movement, no favourites."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.coordinator.assignment import (
    VERIFIERS_PER_BATCH,
    apportion,
    assign_slots,
    clip_speeds,
    compute_batch_sizes,
    select_jury,
)
from psyche_p2p.coordinator.rules import rules_of
from psyche_p2p.coordinator.state import new_member
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import PeerId
from psyche_p2p.wire import Role
from psyche_p2p.wire.records import Member
from tests.coordinator.chi_squared import chi_squared_bound, chi_squared_statistic
from tests.coordinator.world import identity, make_config, make_join

EQUAL = rules_of(make_config())
BY_SPEED = rules_of(make_config(rounds={"equal_batches": False}))
CHECKED = rules_of(make_config(verification={"verification_percent": 30}))
TAUGHT = rules_of(make_config(distillation={"enabled": True, "targets_wait_s": 30.0}))
seeds = st.binary(min_size=32, max_size=32)


def member(index: int, *, tier: int = 0, speed: int = 1000, roles: tuple[Role, ...] = ()) -> Member:
    join = make_join(roles or (Role.TRAINER,), tier, tokens_per_s=speed)
    return new_member(identity(index).peer_id, join)


@st.composite
def crowds(draw: st.DrawFn, smallest: int = 1) -> list[Member]:
    count = draw(st.integers(smallest, 24))
    tiers = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    speeds = draw(st.lists(st.integers(0, 10**7), min_size=count, max_size=count))
    return [
        member(index + 1, tier=tier, speed=speed)
        for index, (tier, speed) in enumerate(zip(tiers, speeds, strict=True))
    ]


@given(crowds(), seeds, st.integers(0, 2**50), st.integers(1, 300), st.booleans())
def test_batches_cover_the_round_once_without_overlap(
    crowd: list[Member], seed: bytes, start: int, size: int, is_equal: bool
) -> None:
    rules = EQUAL if is_equal else BY_SPEED
    slots = assign_slots(rules, crowd, seed, range(start, start + size))
    edges = [start, *(slot.batch.end for slot in slots)]
    assert [slot.batch.start for slot in slots] == edges[:-1]
    assert edges[-1] == start + size
    assert len({slot.trainer for slot in slots}) == len(slots) == min(len(crowd), size)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_shares_add_up_and_are_within_one_of_exact(total: int, weights: list[int]) -> None:
    shares = apportion(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * sum(weights) - total * weight) < sum(weights)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40))
def test_speeds_are_clipped_around_the_median(speeds: list[int]) -> None:
    clipped = clip_speeds(speeds)
    known = sorted(speed for speed in speeds if speed)
    if not known:
        assert clipped == [1] * len(speeds)
        return
    median = known[(len(known) - 1) // 2]
    for speed, weight in zip(speeds, clipped, strict=True):
        assert median <= weight <= 16 * median
        if speed == 0:
            assert weight == 4 * median
        elif median <= 4 * speed <= 16 * median:
            assert weight == 4 * speed


def test_slow_hardware_gets_less_but_something() -> None:
    # one each; of the other 96, 4, 4, 1 and 16 of 25 parts: 15.36, 15.36, 3.84 and 61.44
    assert compute_batch_sizes(100, [1000, 1000, 10, 10**9], is_equal=False) == [16, 16, 5, 63]
    assert compute_batch_sizes(10, [1, 2, 3], is_equal=True) == [4, 3, 3]


@given(crowds(smallest=2), seeds, st.data())
def test_a_leaver_moves_nobody_else(crowd: list[Member], seed: bytes, data: st.DataObject) -> None:
    """The order of batches, juries and the others' verifiers stay as they were without it."""
    leaver = data.draw(st.sampled_from(crowd))
    rest = [one for one in crowd if one is not leaver]
    before = assign_slots(CHECKED, crowd, seed, range(1000))
    after = assign_slots(CHECKED, rest, seed, range(1000))
    order = [slot.trainer for slot in before if slot.trainer != leaver.peer]
    assert [slot.trainer for slot in after] == order
    jury = [peer for peer in select_jury(crowd, seed) if peer != leaver.peer]
    assert list(select_jury(rest, seed)) == jury
    verifiers_of = {slot.trainer: slot.verifiers for slot in before}
    for slot in after:
        kept = [peer for peer in verifiers_of[slot.trainer] if peer != leaver.peer]
        if slot.verifiers and kept:
            assert list(slot.verifiers[: len(kept)]) == kept


@given(crowds(), seeds)
def test_verifiers_are_others_who_hold_the_tier(crowd: list[Member], seed: bytes) -> None:
    tiers = {one.peer: one.join.tier for one in crowd}
    slots = assign_slots(CHECKED, crowd, seed, range(1000))
    able = {slot.trainer: sum(tier <= slot.tier for tier in tiers.values()) - 1 for slot in slots}
    for slot in slots:
        assert slot.trainer not in slot.verifiers
        assert all(tiers[peer] <= slot.tier for peer in slot.verifiers)
        if slot.verifiers:
            assert len(slot.verifiers) == min(VERIFIERS_PER_BATCH, able[slot.trainer])
    checked = sum(bool(slot.verifiers) for slot in slots)
    assert checked <= -(-len(slots) * 30 // 100)


@given(crowds(), seeds)
def test_students_and_only_students_have_a_full_teacher(crowd: list[Member], seed: bytes) -> None:
    full = {one.peer for one in crowd if one.join.tier == 0}
    for slot in assign_slots(TAUGHT, crowd, seed, range(1000)):
        if slot.tier == 0 or not full:
            assert slot.teacher is None
        else:
            assert slot.teacher in full
    assert all(slot.teacher is None for slot in assign_slots(EQUAL, crowd, seed, range(100)))


def test_witnesses_without_the_trainer_role_get_no_batch() -> None:
    crowd = [member(1), member(2, roles=(Role.WITNESS,))]
    slots = assign_slots(EQUAL, crowd, bytes(32), range(10))
    assert [slot.trainer for slot in slots] == [crowd[0].peer]
    assert assign_slots(EQUAL, crowd[1:], bytes(32), range(10)) == ()


def test_no_trainer_is_favoured_over_many_seeds() -> None:
    """First batch, left-out places, verifying and teaching are uniform (chi-squared, p = 1e-6)."""
    crowd = [member(index, tier=index % 2) for index in range(1, 13)]
    rules = replace(CHECKED, has_teachers=True)
    first, chosen, verifying, teaching = (Counter[PeerId]() for _ in range(4))
    for number in range(3000):
        seed = hash_bytes(b"fair %d" % number)
        slots = assign_slots(rules, crowd, seed, range(8))
        first[slots[0].trainer] += 1
        chosen.update(slot.trainer for slot in slots)
        teaching.update(slot.teacher for slot in slots if slot.teacher)
        verifying.update(peer for slot in slots if slot.tier == 1 for peer in slot.verifiers[:1])
    full = [one.peer for one in crowd if one.join.tier == 0]
    everyone = [one.peer for one in crowd]
    assert chi_squared_statistic(first, everyone) < chi_squared_bound(11)
    assert chi_squared_statistic(chosen, everyone) < chi_squared_bound(11)
    assert chi_squared_statistic(teaching, full) < chi_squared_bound(5)
    # at tier 1 everyone may verify; the students' own absence from their slots is symmetric
    assert set(verifying) == set(everyone)
