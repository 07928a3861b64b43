"""Committees, quorums and the order of proposers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.coordinator import (
    committee_at,
    compute_quorum,
    proposer_at,
    proposer_order,
    quorum_at,
    tolerated_liars,
)
from psyche_p2p.coordinator.committee import MAX_COMMITTEE, select_committee
from psyche_p2p.coordinator.rules import rules_of
from psyche_p2p.coordinator.state import new_member
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, PeerId, View
from psyche_p2p.wire import Role
from psyche_p2p.wire.commands import OpenEpoch
from tests.coordinator.chi_squared import chi_squared_bound, chi_squared_statistic
from tests.coordinator.world import World, identity, make_config, make_join

RULES = rules_of(make_config(members={"min_members": 5, "init_min_members": 5}))
FIVE = replace(RULES, witness_nodes=5)
seeds = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(("size", "quorum"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (7, 5)])
def test_quorums_of_small_committees(size: int, quorum: int) -> None:
    assert compute_quorum(size) == quorum


@pytest.mark.parametrize("size", range(4, 257))
def test_quorums_meet_in_an_honest_member_and_liars_cannot_block(size: int) -> None:
    liars, quorum = tolerated_liars(size), compute_quorum(size)
    assert 2 * quorum - size > liars
    assert size - liars >= quorum


@given(st.integers(1, 60), seeds, st.data())
def test_a_leaver_changes_at_most_one_seat(count: int, seed: bytes, data: st.DataObject) -> None:
    roles = st.sampled_from([(Role.TRAINER,), (Role.WITNESS,), (Role.TRAINER, Role.WITNESS)])
    members = [
        new_member(
            identity(index).peer_id,
            make_join(data.draw(roles), tier=data.draw(st.integers(0, 2))),
        )
        for index in range(1, count + 1)
    ]
    leaver = data.draw(st.sampled_from(members))
    before = select_committee(RULES, members, seed)
    after = select_committee(RULES, [one for one in members if one is not leaver], seed)
    stayed = [peer for peer in before if peer != leaver.peer]
    assert [peer for peer in after if peer in stayed] == stayed
    assert len(after) <= len(stayed) + 1


@given(st.integers(1, 60), st.integers(1, 60), seeds)
def test_the_witness_role_comes_first_but_for_the_seats_kept_for_trainers(
    witnesses: int, others: int, seed: bytes
) -> None:
    members = [
        new_member(
            identity(index).peer_id,
            make_join((Role.WITNESS,) if index <= witnesses else (Role.TRAINER,)),
        )
        for index in range(1, witnesses + others + 1)
    ]
    committee = set(select_committee(RULES, members, seed))
    assert len(committee) == min(MAX_COMMITTEE, witnesses + others)
    chosen = sum(one.peer in committee for one in members[:witnesses])
    kept = min(others, tolerated_liars(MAX_COMMITTEE))
    assert chosen == min(MAX_COMMITTEE - kept, witnesses)


@given(st.lists(st.sampled_from([0, 1, 2, None]), min_size=1, max_size=40), seeds)
@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_a_small_committee_knows_every_tier_that_a_member_holds(
    size: int, tiers: list[int | None], seed: bytes
) -> None:
    """The lowest tiers have seats, as many as may lie, and at least one."""
    rules = replace(RULES, witness_nodes=size)
    members = [
        new_member(
            identity(index).peer_id,
            make_join((Role.WITNESS,)) if tier is None else make_join(tier=tier),
        )
        for index, tier in enumerate(tiers, start=1)
    ]
    committee = select_committee(rules, members, seed)
    assert len(committee) == min(size, len(members))
    trained = sorted(tier for tier in tiers if tier is not None)
    seated = sorted(
        one.join.tier for one in members if one.peer in committee and Role.TRAINER in one.join.roles
    )
    kept = max(1, tolerated_liars(size))
    assert seated[:kept] == trained[:kept]


def test_seats_and_proposals_are_shared_evenly_over_many_seeds() -> None:
    members = [new_member(identity(index).peer_id, make_join()) for index in range(1, 13)]
    seats, proposals = Counter[PeerId](), Counter[PeerId]()
    state = replace(World.start(make_config(), 12).state, rules=FIVE)
    for number in range(3000):
        seed = BlobHash(hash_bytes(b"seat %d" % number))
        seats.update(select_committee(FIVE, members, seed))
        proposals[proposer_at(replace(state, seed=seed), View(0))] += 1
    peers = [one.peer for one in members]
    assert chi_squared_statistic(seats, peers) < chi_squared_bound(11)
    assert chi_squared_statistic(proposals, peers) < chi_squared_bound(11)


def test_authorities_are_the_committee_always() -> None:
    authorities = [identity(50).peer_id, identity(51).peer_id]
    config = make_config(committee={"authorities": authorities})
    state = World.start(config, 4).state
    assert sorted(committee_at(state)) == sorted(authorities)
    assert quorum_at(state) == 2


def test_a_run_with_one_authority_needs_no_founders() -> None:
    config = make_config(committee={"authorities": [identity(50).peer_id]})
    world = World.start(config, {})
    assert proposer_at(world.state, View(3)) == identity(50).peer_id


def test_proposers_passed_over_come_last_until_they_are_heard_of() -> None:
    world = World.start(make_config(), 4)
    order = proposer_order(world.state)
    world.wait(2)
    world.decide(OpenEpoch(world.state.epoch), view=2)
    late = {one.peer for one in world.state.members if one.is_late}
    assert late == set(order[:2])
    assert set(proposer_order(world.state)[2:]) == late
