"""What a peer keeps of what it hears: bounded, and only while it is of use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from psyche_p2p.coordinator import Signed
from psyche_p2p.coordinator.heard import Heard, as_signed
from psyche_p2p.ids import BatchInterval, BlobHash, PeerId, RoundIndex
from psyche_p2p.wire import Envelope, Refusal, Withdraw, open_envelope, seal
from tests.coordinator.closing import head, in_training
from tests.coordinator.world import World

FLOOD = 300
KEPT = 256


def envelope(world: World, sender: PeerId, message: Any) -> Envelope:
    return open_envelope(seal(message, world.run_id, world.people[sender]), world.run_id)


def refusal_at(world: World, round_index: int = 0, batch: int = 0) -> Refusal:
    committee = head(world).committee
    return Refusal(
        world.state.epoch,
        RoundIndex(round_index),
        BatchInterval(batch, batch + 1),
        committee[0],
        BlobHash(bytes(32)),
    )


def heard_of(heard: Heard) -> list[Signed]:
    return list(heard.pool().refusals)


def test_a_refusal_is_news_once() -> None:
    world, heard = in_training(), Heard()
    said = envelope(world, head(world).committee[1], refusal_at(world))
    assert heard.take(said)
    assert not heard.take(said)
    assert heard_of(heard) == [as_signed(said)]


def test_a_witness_that_floods_takes_no_room_from_the_others() -> None:
    world, heard = in_training(), Heard()
    flooder, honest = head(world).committee[1:3]
    taken = [
        heard.take(envelope(world, flooder, refusal_at(world, batch=batch)))
        for batch in range(FLOOD)
    ]
    assert sum(taken) == KEPT
    assert heard.take(envelope(world, honest, refusal_at(world)))
    assert len(heard_of(heard)) == KEPT + 1


def test_far_rounds_are_not_kept_and_closed_ones_are_forgotten() -> None:
    world, heard = in_training(), Heard()
    witness = head(world).committee[1]
    heard.forget_before(world.state)
    far = world.state.next_round + 4
    assert not heard.take(envelope(world, witness, refusal_at(world, far)))
    for index in range(2):
        assert heard.take(envelope(world, witness, refusal_at(world, index)))
    closed_one = replace(world.state, open_rounds=world.state.open_rounds[1:])
    heard.forget_before(closed_one)
    assert [one.message.round for one in heard_of(heard)] == [1]


def test_a_withdrawal_is_forgotten_once_its_peer_has_said_something_newer() -> None:
    world, heard = in_training(), Heard()
    leaver = world.state.members[0].peer
    joined = world.state.find_account(leaver)
    assert joined is not None
    for nonce, is_kept in ((joined.nonce, False), (joined.nonce + 1, True)):
        assert heard.take(envelope(world, leaver, Withdraw(world.state.epoch, "", nonce)))
        heard.forget_before(world.state)
        assert bool(heard.pool().withdrawals) == is_kept
