"""Parameter roots where members hold unlike parts of the model: whose word moves which tier's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psyche_p2p.coordinator import (
    UNHELD,
    Pool,
    Signed,
    State,
    closing_voters,
    decode_state,
    due_commands,
    encode_state,
    genesis_state,
)
from psyche_p2p.coordinator.closing import make_close_epoch
from psyche_p2p.coordinator.pool import make_close_round
from psyche_p2p.coordinator.transition import apply_command
from psyche_p2p.errors import Rejected
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import verify
from psyche_p2p.ids import ParamRoot, PeerId, RoundIndex, Tier
from psyche_p2p.wire import Attestation, Join, Phase, Role, Withdraw
from psyche_p2p.wire.commands import OpenEpoch, Release
from psyche_p2p.wire.records import MemberStatus
from tests.coordinator.closing import close, head
from tests.coordinator.world import (
    World,
    admit,
    identity,
    make_config,
    make_genesis,
    make_join,
    param_roots,
)

ROOTS = 3  # of a run with max_tier 2
LIE = ParamRoot(b"\xee" * 32)


def join_of(tier: int | None, nonce: int = 1) -> Join:
    """A trainer's, or without a tier one of a peer that only witnesses."""
    roles = (Role.WITNESS,) if tier is None else (Role.TRAINER, Role.WITNESS)
    return make_join(roles, tier or 0, nonce)


def mixed(*tiers: int | None, **sections: object) -> World:
    """A run whose members 1, 2, ... train at these tiers."""
    joins = {index: join_of(tier) for index, tier in enumerate(tiers, start=1)}
    return World.start(make_config(**sections), joins)  # type: ignore[arg-type]


def training(*tiers: int | None, rounds: int = 0) -> World:
    world = mixed(*tiers)
    world.run_until(Phase.TRAIN, rounds=rounds)
    return world


def peer(index: int) -> PeerId:
    return identity(index).peer_id


def with_words(world: World, changed: dict[PeerId, tuple[ParamRoot, ...]]) -> Pool:
    """What is heard, with other param roots from these members."""
    heard = world.heard()

    def reword(signed: Signed) -> Signed:
        if signed.sender not in changed:
            return signed
        return world.say(signed.sender, replace(signed.message, param_roots=changed[signed.sender]))

    return replace(heard, attestations=tuple(map(reword, heard.attestations)))


def leave(world: World, leaver: PeerId) -> None:
    said = world.say(leaver, Withdraw(world.state.epoch, "bye", 2))
    world.decide(Release(leaver, said.message, said.signature))
    world.dead.add(leaver)


def settle(world: World, pool: Pool) -> State:
    world.wait(1)
    return world.decide(make_close_round(world.state, head(world), pool))


def test_members_of_all_tiers_settle_every_tiers_root() -> None:
    world = training(0, 1, 1, 2, None, rounds=2)
    state = settle(world, world.heard())
    assert (state.param_round, state.param_roots) == (2, param_roots(2))
    assert state.param_root == param_roots(2)[2] == state.param_root_of(Tier(0))
    assert [state.param_root_of(Tier(tier)) for tier in (2, 1, 0)] == list(param_roots(2))
    assert [state.root_count_of(peer(index)) for index in range(1, 6)] == [3, 2, 2, 1, 0]


def test_the_full_model_is_settled_by_its_only_holder() -> None:
    world = training(0, 1, 1, rounds=1)
    lie = (*param_roots(1)[:2], LIE)
    state = settle(world, with_words(world, {peer(1): lie}))
    assert (state.param_round, state.param_roots) == (1, lie)
    without = [one for one in world.heard().attestations if one.sender != peer(1)]
    assert settle(world, replace(world.heard(), attestations=tuple(without))).param_round == 1


def test_its_only_holder_alone_moves_no_smaller_tier() -> None:
    """And what it says of the full model contains what the others do not confirm."""
    world = training(0, 1, 1, rounds=1)
    settled = world.state.param_round
    state = settle(world, with_words(world, {peer(1): (LIE, LIE, LIE)}))
    assert (state.param_round, state.param_roots) == (settled, param_roots(settled))


@pytest.mark.parametrize("lie", [(LIE, LIE, LIE), (*param_roots(1)[:2], LIE)])
def test_one_lying_tier_0_of_three_moves_nothing(lie: tuple[ParamRoot, ...]) -> None:
    world = training(0, 0, 0, 1, rounds=1)
    state = settle(world, with_words(world, {peer(2): lie}))
    assert (state.param_round, state.param_roots) == (1, param_roots(1))


def test_a_lying_tier_1_moves_nothing() -> None:
    world = training(0, 0, 1, 1, rounds=1)
    state = settle(world, with_words(world, {peer(3): (LIE, LIE)}))
    assert (state.param_round, state.param_roots) == (1, param_roots(1))


def test_without_a_quorum_of_the_full_models_holders_nothing_is_settled() -> None:
    """Two holders must agree; the six others have a quorum for the smaller tiers only."""
    world = training(0, 0, 1, 1, 1, 1, 1, 1, rounds=1)
    settled = world.state.param_round
    state = settle(world, with_words(world, {peer(1): (*param_roots(1)[:2], LIE)}))
    assert state.param_round == settled
    assert settle(world, world.heard()).param_roots == param_roots(2)


def test_roots_of_different_rounds_do_not_add_up() -> None:
    world = training(0, 0, 0, 1, rounds=2)
    early = [
        world.say(one.sender, replace(one.message, param_round=RoundIndex(1)))
        if one.sender in (peer(1), peer(2))
        else one
        for one in world.heard().attestations
    ]
    settled = world.state.param_round
    assert settle(world, replace(world.heard(), attestations=tuple(early))).param_round == settled


def test_witnesses_without_a_model_count_for_blobs_and_for_no_root() -> None:
    world = training(0, None, None, None, rounds=1)
    slots = head(world).slots
    assert {slot.trainer for slot in slots} == {peer(1)}
    assert {member.peer for member in world.state.active_members} == set(map(peer, range(1, 5)))
    said: list[Attestation] = [one.message for one in world.heard().attestations]
    assert sorted(len(one.param_roots) for one in said) == [0, 0, 0, ROOTS]
    settled = world.state.param_round
    witnesses = [one for one in world.heard().attestations if one.sender != peer(1)]
    state = settle(world, replace(world.heard(), attestations=tuple(witnesses)))
    assert len(state.closed_rounds[-1].accepted) == 1
    assert state.param_round == settled
    world.run_until(Phase.FINISHED)
    assert world.state.param_roots == param_roots(20)
    points = {account.peer: account.points for account in world.state.accounts}
    assert all(points[peer(index)] >= 19 for index in (2, 3, 4))


def test_witnesses_without_a_model_are_seated_first() -> None:
    members = {"min_members": 4, "init_min_members": 4}
    config = make_config(members=members, committee={"witness_nodes": 4})
    joins = {index: make_join((Role.WITNESS,)) for index in (1, 2, 3)}
    joins |= {index: make_join((Role.TRAINER,)) for index in range(4, 9)}
    world = World.start(config, joins)
    world.run_until(Phase.TRAIN, rounds=2)
    for opened in world.state.open_rounds:
        assert set(opened.committee) > {peer(1), peer(2), peer(3)}
    world.run_until(Phase.FINISHED)
    assert world.state.param_roots == param_roots(20)


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_a_vector_of_the_wrong_length_is_rejected_and_never_proposed(count: int) -> None:
    world = training(0, 0, 1, 0, rounds=1)
    odd = param_roots(1, count)
    pool = with_words(world, {peer(3): odd})
    command = make_close_round(world.state, head(world), pool)
    names = [head(world).committee[one.witness] for one in command.witnessings]
    assert sorted(names) == sorted([peer(1), peer(2), peer(4)])
    world.wait(1)
    good = close(world)
    index = head(world).committee.index(peer(3))
    (word,) = (one for one in pool.attestations if one.sender == peer(3))
    crooked = tuple(
        replace(one, param_roots=odd, signature=word.signature) if one.witness == index else one
        for one in good.witnessings
    )
    with pytest.raises(Rejected, match=f"{count} param roots of .*, its tier has 2"):
        apply_command(world.state, replace(good, witnessings=crooked), verify)
    world.decide(*due_commands(world.state, pool, world.clock_ms + 60_000))


def test_a_genesis_and_a_state_have_a_root_for_every_tier() -> None:
    config, joins = make_config(), {1: make_join()}
    genesis = make_genesis(config, joins)
    for count in (0, 2, 4):
        short = replace(genesis, param_roots=param_roots(0, count))
        with pytest.raises(Rejected, match=f"{count} param roots, this run has 3 tiers"):
            genesis_state(config, short)
    state = genesis_state(config, genesis)
    with pytest.raises(Rejected, match="2 param roots, this run has 3 tiers"):
        decode_state(encode_state(replace(state, param_roots=param_roots(0, 2))), config)


def cooling(*tiers: int | None) -> World:
    world = mixed(*tiers, run={"total_rounds": 2})
    world.run_until(Phase.COOLDOWN)
    world.wait(5)
    return world


def test_an_epochs_end_needs_a_quorum_of_every_tiers_holders() -> None:
    world = cooling(0, 0, 1, 1, 1, 1, 1)
    world.dead.add(peer(1))
    assert not world.step()
    assert make_close_epoch(world.state, world.heard().attestations) is None
    world.dead.clear()
    good = make_close_epoch(world.state, world.heard().attestations)
    assert good is not None
    without = tuple(one for one in good.signatures if one.peer != peer(1))
    at_now = replace(world.state, time_ms=world.clock_ms)
    with pytest.raises(Rejected, match="1 of 2 holders of tier 0 reached its root"):
        apply_command(at_now, replace(good, signatures=without), verify)
    lie = (*good.param_roots[:2], LIE)
    with pytest.raises(Rejected, match="did not sign this Attestation"):
        apply_command(at_now, replace(good, param_roots=lie), verify)
    with pytest.raises(Rejected, match="2 param roots, this run has 3 tiers"):
        apply_command(at_now, replace(good, param_roots=good.param_roots[:2]), verify)
    world.decide(good)
    assert (world.state.phase, world.state.param_roots) == (Phase.FINISHED, param_roots(2))


def test_one_liar_does_not_hold_the_end_up() -> None:
    """Its word fits into no close that the others' words make, and is left out of it."""
    world = cooling(0, 0, 0, 1)
    pool = with_words(world, {peer(2): (*param_roots(2)[:2], LIE)})
    doubled = (*pool.attestations, *with_words(world, {peer(3): param_roots(2)[:1]}).attestations)
    (command,) = due_commands(world.state, replace(pool, attestations=doubled), world.clock_ms)
    world.decide(command)
    assert world.state.param_roots == param_roots(2)


def test_holders_outside_the_closing_committee_speak_where_no_one_of_it_can() -> None:
    world = cooling(0, 0, 1, None, None)
    world.state = replace(world.state, closing_committee=(peer(3), peer(4), peer(5)))
    assert closing_voters(world.state) == frozenset(map(peer, range(1, 6)))
    assert world.step()
    assert world.state.param_roots == param_roots(2)


def test_members_of_an_authoritys_run_settle_its_roots() -> None:
    """The authority holds no model: what the members say at the end of an epoch counts."""
    config = make_config(committee={"authorities": [identity(50).peer_id]}, run={"total_rounds": 3})
    world = World.start(config, {1: join_of(0), 2: join_of(1)})
    world.run_until(Phase.FINISHED)
    assert world.state.param_roots == param_roots(3)


def test_a_tier_that_nobody_holds_any_more_is_forgotten_at_the_epochs_end() -> None:
    world = training(0, 1, 1, rounds=2)
    leave(world, peer(1))
    world.run_until(Phase.COOLDOWN)
    world.wait(5)
    said = make_close_epoch(world.state, world.heard().attestations)
    assert said is not None
    kept = replace(said, param_roots=param_roots(world.state.closed_count))
    with pytest.raises(Rejected, match="a root of tier 0, which nobody holds any more"):
        apply_command(replace(world.state, time_ms=world.clock_ms), kept, verify)
    assert world.step()
    state = world.state
    assert state.param_roots == (*param_roots(state.param_round, 2), UNHELD)
    assert state.param_root == UNHELD
    world.run_until(Phase.TRAIN, rounds=state.closed_count + 3)
    rounds = world.state.param_round
    assert rounds > state.param_round
    assert world.state.param_roots == (*param_roots(rounds, 2), UNHELD)


def test_the_last_holder_of_the_full_model_is_not_dropped() -> None:
    """It is waited for at the end of the epoch; others that were as silent are gone."""
    world = mixed(0, 1, 1, 1, 1, 1, 1, run={"total_rounds": 12})
    world.run_until(Phase.TRAIN, rounds=1)
    world.dead.update((peer(1), peer(2)))
    world.run_until(Phase.COOLDOWN)
    member, other = world.state.find_member(peer(1)), world.state.find_member(peer(2))
    assert member is not None
    assert other is not None
    assert (member.status, other.status) == (MemberStatus.ACTIVE, MemberStatus.DROPPED)
    assert member.missed_rounds > 2
    world.wait(100)
    assert not world.step()
    world.dead.clear()
    assert world.step()
    assert world.state.param_roots == param_roots(12)


def test_the_last_holder_may_say_that_it_leaves_instead() -> None:
    world = mixed(0, 1, 1, 1, run={"total_rounds": 6})
    world.run_until(Phase.TRAIN, rounds=1)
    world.dead.add(peer(1))
    world.run_until(Phase.COOLDOWN)
    world.wait(5)
    assert not world.step()
    leave(world, peer(1))
    assert world.step()
    assert world.state.param_roots == (*param_roots(6, 2), UNHELD)


def test_of_two_holders_of_the_full_model_the_dead_one_is_dropped() -> None:
    world = training(0, 0, 1, 1, 1, rounds=1)
    world.dead.add(peer(1))
    world.run_until(Phase.TRAIN, rounds=8)
    member = world.state.find_member(peer(1))
    assert member is not None
    assert member.status is MemberStatus.DROPPED
    assert world.state.param_roots == param_roots(7)


def test_a_forgotten_tier_is_known_again_once_its_holders_agree() -> None:
    world = training(0, 1, 1, rounds=2)
    leave(world, peer(1))
    world.run_until(Phase.WAITING_FOR_MEMBERS)
    world.dead.clear()
    world.decide(admit(identity(1), join_of(0, nonce=3), world.run_id))
    world.run_until(Phase.FINISHED)
    assert world.state.param_roots == param_roots(20)


def test_an_epoch_opens_only_with_all_of_the_model_that_is_known() -> None:
    world = mixed(1, 1, 2)
    world.wait(100)
    assert not world.step()
    with pytest.raises(Rejected, match="with a trainer are needed that holds tier 0"):
        world.decide(OpenEpoch(world.state.epoch))
    world.decide(admit(identity(4), join_of(0), world.run_id))
    world.run_until(Phase.TRAIN, rounds=1)


def test_an_epoch_begins_only_if_the_full_models_holder_is_warm() -> None:
    world = mixed(0, 1, 1, 1)
    world.dead.add(peer(1))
    world.run_until(Phase.WARMUP)
    world.wait(10)
    assert world.step()
    assert world.state.phase is Phase.WAITING_FOR_MEMBERS
    world.dead.clear()
    world.run_until(Phase.TRAIN)


def test_a_full_run_has_room_for_the_only_holder_of_the_full_model() -> None:
    members = {"max_members": 3, "init_min_members": 3, "min_members": 2}
    world = mixed(1, 1, 1, members=members)
    world.decide(admit(identity(9), join_of(0), world.run_id))
    world.run_until(Phase.TRAIN)
    entered = {member.peer for member in world.state.members}
    assert peer(9) in entered
    assert len(entered) == 3


def test_stub_roots_of_unlike_rounds_differ() -> None:
    """Or the tests above would prove nothing."""
    roots = [*param_roots(0), *param_roots(1), UNHELD, LIE]
    assert len(set(roots)) == len(roots)
    assert hash_bytes(b"") != UNHELD
