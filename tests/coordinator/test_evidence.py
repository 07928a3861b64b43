"""Ejection needs a proof, and any proof ejects."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psyche_p2p.coordinator import AnyCommand, Pool, due_commands
from psyche_p2p.coordinator.findings import find_failed_work
from psyche_p2p.coordinator.ledger import total_points
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import BlockHash, Height, PeerId, RoundIndex, View
from psyche_p2p.wire import Commitment, Phase, Verdict, Vote, VoteStep
from psyche_p2p.wire.commands import (
    EjectForCommitments,
    EjectForVerdicts,
    EjectForVotes,
    JurorSignature,
)
from psyche_p2p.wire.records import MemberStatus
from tests.coordinator.world import World, admit, identity, make_commitment, make_config, make_join

ONE, OTHER = BlockHash(bytes(32)), BlockHash(b"\1" * 32)


def training(peers: int = 5, verification_percent: int = 30) -> World:
    verification = {"verification_percent": verification_percent}
    world = World.start(make_config(verification=verification), peers)
    world.run_until(Phase.TRAIN, rounds=2)
    return world


def vote(block: BlockHash | None = ONE, view: int = 0) -> Vote:
    return Vote(Height(3), View(view), VoteStep.PRECOMMIT, block)


def double_vote(world: World, peer: PeerId, first: Vote, second: Vote) -> EjectForVotes:
    said, again = world.say(peer, first), world.say(peer, second)
    return EjectForVotes(peer, first, said.signature, second, again.signature)


def double_commitment(
    world: World, peer: PeerId, first: Commitment, second: Commitment
) -> EjectForCommitments:
    said, again = world.say(peer, first), world.say(peer, second)
    return EjectForCommitments(peer, first, said.signature, second, again.signature)


def commitment(world: World, peer: PeerId, salt: bytes = b"") -> Commitment:
    opened = world.state.head_round
    assert opened is not None
    (slot,) = (slot for slot in opened.slots if slot.trainer == peer)
    return make_commitment(world.state, opened, slot, salt)


def failed_work(world: World, accused: PeerId, jurors: list[PeerId]) -> EjectForVerdicts:
    about = commitment(world, accused)
    verdicts = []
    for juror in sorted(jurors):
        said = world.say(juror, verdict(about, accused))
        verdicts.append(JurorSignature(juror, 500_000, said.signature))
    return EjectForVerdicts(
        accused, about.epoch, about.round, about.batch, about.blob_hash, tuple(verdicts)
    )


def verdict(about: Commitment, accused: PeerId, *, accepted: bool = False) -> Verdict:
    return Verdict(
        about.epoch, about.round, about.batch, accused, about.blob_hash, 500_000, accepted
    )


def assert_ejected(world: World, peer: PeerId) -> None:
    member, account = world.state.find_member(peer), world.state.find_account(peer)
    assert member is not None
    assert account is not None
    assert member.status is MemberStatus.EJECTED
    assert account.is_banned
    assert account.epoch_points == 0
    totals = total_points(world.state)
    assert totals["forfeited"] > 0
    assert totals["issued"] == totals["pending"] + totals["settled"] + totals["forfeited"]


def proofs(world: World, peer: PeerId) -> list[AnyCommand]:
    others = [one.peer for one in world.state.members if one.peer != peer]
    return [
        double_vote(world, peer, vote(ONE), vote(OTHER)),
        double_vote(world, peer, vote(ONE), vote(None)),
        double_commitment(world, peer, commitment(world, peer), commitment(world, peer, b"x")),
        failed_work(world, peer, others),
    ]


@pytest.mark.parametrize("index", range(4))
def test_each_proof_ejects_for_good(index: int) -> None:
    world = training()
    peer = world.state.members[0].peer
    proof = proofs(world, peer)[index]
    world.decide(proof)
    assert_ejected(world, peer)
    with pytest.raises(Rejected, match="has been ejected"):
        world.decide(proof)
    with pytest.raises(Rejected, match="has been ejected"):
        world.decide(admit(world.people[peer], make_join(nonce=9), world.run_id))
    world.dead.add(peer)
    world.run_until(Phase.FINISHED)
    assert_ejected(world, peer)


def test_votes_that_prove_nothing() -> None:
    world = training()
    peer, other = (one.peer for one in world.state.members[:2])
    with pytest.raises(Rejected, match="agree"):
        world.decide(double_vote(world, peer, vote(ONE), vote(ONE)))
    with pytest.raises(Rejected, match="same step"):
        world.decide(double_vote(world, peer, vote(ONE), vote(OTHER, view=1)))
    proof = double_vote(world, peer, vote(ONE), vote(OTHER))
    with pytest.raises(Rejected, match="did not sign this Vote"):
        world.decide(replace(proof, peer=other))
    stranger = identity(40).peer_id
    with pytest.raises(Rejected, match="never been admitted"):
        world.decide(double_vote(world, stranger, vote(ONE), vote(OTHER)))


def test_commitments_that_prove_nothing() -> None:
    world = training()
    peer, other = (one.peer for one in world.state.members[:2])
    mine = commitment(world, peer)
    with pytest.raises(Rejected, match="agree"):
        world.decide(double_commitment(world, peer, mine, mine))
    with pytest.raises(Rejected, match="not to the same batch"):
        world.decide(double_commitment(world, peer, mine, replace(mine, round=RoundIndex(9))))
    proof = double_commitment(world, peer, mine, commitment(world, peer, b"x"))
    with pytest.raises(Rejected, match="did not sign this Commitment"):
        world.decide(replace(proof, peer=other))


def test_failed_work_needs_a_quorum_of_those_who_could_run_it() -> None:
    world = training(7)
    accused = world.state.members[0].peer
    others = [one.peer for one in world.state.members[1:]]
    needed = compute_quorum(len(others))
    with pytest.raises(Rejected, match=f"{needed - 1} verdicts of {needed} needed"):
        world.decide(failed_work(world, accused, others[: needed - 1]))
    with pytest.raises(Rejected, match="not on this batch's jury"):
        world.decide(failed_work(world, accused, [accused, *others]))
    proof = failed_work(world, accused, others)
    with pytest.raises(Rejected, match="rising order"):
        world.decide(replace(proof, verdicts=proof.verdicts[:1] * 6))
    with pytest.raises(Rejected, match="did not sign this Verdict"):
        world.decide(replace(proof, blob_hash=replace(commitment(world, accused)).payload_hash))
    with pytest.raises(Rejected, match="not one of the last rounds"):
        world.decide(replace(proof, round=RoundIndex(99)))
    world.decide(failed_work(world, accused, others[:needed]))
    assert_ejected(world, accused)


def test_liars_within_the_bound_eject_nobody() -> None:
    for peers in range(4, 14):
        liars = (peers - 1) // 3
        assert compute_quorum(peers - 1) > liars


def test_peers_of_a_higher_tier_cannot_judge_a_lower_one() -> None:
    joins = {1: make_join(), 2: make_join(), 3: make_join(tier=1), 4: make_join(tier=1)}
    world = World.start(make_config(verification={"verification_percent": 30}), joins)
    world.run_until(Phase.TRAIN, rounds=1)
    accused, able, student = (identity(index).peer_id for index in (1, 2, 3))
    with pytest.raises(Rejected, match="not on this batch's jury"):
        world.decide(failed_work(world, accused, [able, student]))
    world.decide(failed_work(world, accused, [able]))
    assert_ejected(world, accused)


def test_proofs_in_what_was_heard_become_commands() -> None:
    world = training()
    peer, accused = (one.peer for one in world.state.members[:2])
    others = [one.peer for one in world.state.members if one.peer not in (peer, accused)]
    about = commitment(world, accused)
    rejecting = [world.say(one, verdict(about, accused)) for one in others]
    pool = Pool(
        commitments=(
            world.say(peer, commitment(world, peer)),
            world.say(peer, commitment(world, peer, b"x")),
        ),
        verdicts=(*rejecting, world.say(peer, verdict(about, accused, accepted=True))),
    )
    commands = due_commands(world.state, pool, world.clock_ms)
    assert [type(command) for command in commands] == [EjectForCommitments, EjectForVerdicts]
    world.decide(*commands)
    assert_ejected(world, peer)
    assert_ejected(world, accused)


def test_the_last_voter_is_not_ejected() -> None:
    world = World.start(make_config(), 1)
    world.run_until(Phase.TRAIN, rounds=1)
    peer = world.state.members[0].peer
    with pytest.raises(Rejected, match="last voter"):
        world.decide(double_vote(world, peer, vote(ONE), vote(OTHER)))


def test_where_nobody_verifies_nobody_is_ejected_for_verdicts() -> None:
    world = training(verification_percent=0)
    accused, *others = (one.peer for one in world.state.members)
    proof = failed_work(world, accused, others)
    with pytest.raises(Rejected, match="nobody's work is verified"):
        world.decide(proof)
    verdicts = [world.say(juror, verdict(commitment(world, accused), accused)) for juror in others]
    assert not list(find_failed_work(world.state, verdicts))
