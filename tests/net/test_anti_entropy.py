"""What gossip loses, anti-entropy brings: to everyone, in time, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from psyche_p2p.errors import WireError
from psyche_p2p.ids import (
    BatchInterval,
    BlobHash,
    BlockHash,
    EpochIndex,
    Height,
    PeerId,
    RoundIndex,
)
from psyche_p2p.net.anti_entropy import MAX_BLOCKS_AT_ONCE, AntiEntropy
from psyche_p2p.net.statements import Frontier, StatementPool
from psyche_p2p.wire import Envelope, Refusal, open_envelope, seal
from psyche_p2p.wire.bulk import PullRequest, StatementSet, Topic
from tests.net.builders import RUN, make_person
from tests.net.gossip_world import FRONTIER, GossipWorld, make_statement

ALICE, BOB, EVE = (make_person(name).identity for name in ("alice", "bob", "eve"))


def make_pool(
    frontier: Frontier = FRONTIER, on_new: Callable[[Envelope], None] = lambda _: None
) -> StatementPool:
    return StatementPool(RUN, {ALICE.peer_id, BOB.peer_id}.__contains__, frontier, on_new)


def slowest_s(number: int, seed: int, drop: float, statements: int) -> float:
    """Seconds until the last of these statements, published over two seconds, is everywhere."""
    world = GossipWorld(number, seed, drop)
    for index in range(statements):
        author = world.random.choice(world.peers)
        world.publish(author, index, at=world.random.random() * 2)
    world.run(30.0)
    assert not world.unfinished, f"seed {seed}: {world.unfinished} statements are not everywhere"
    return max(world.complete_after.values())


@pytest.mark.parametrize("seed", range(10))
def test_with_a_fifth_of_gossip_lost_all_is_everywhere_within_three_seconds(seed: int) -> None:
    assert slowest_s(16, seed, drop=0.2, statements=60) < 3.0


@pytest.mark.slow
@pytest.mark.parametrize("number", [4, 64])
def test_the_same_for_few_and_for_many_peers(number: int) -> None:
    assert slowest_s(number, seed=number, drop=0.2, statements=60) < 3.0


def test_without_any_gossip_all_is_everywhere_all_the_same() -> None:
    assert slowest_s(16, seed=1, drop=1.0, statements=30) < 8.0


def test_peers_that_agree_pull_nothing() -> None:
    world = GossipWorld(8, seed=2, drop=0.0)
    for index in range(10):
        world.publish(world.peers[0], index, at=0.1)
    world.run(2.0)
    before = world.exchanges
    world.run(20.0)
    assert world.exchanges == before


def test_an_exchange_leaves_both_with_the_union() -> None:
    ours, theirs = make_pool(), make_pool()
    for index in range(9):
        (ours if index % 2 else theirs).accept(make_statement(ALICE, index))
    asked = ours.differing(theirs.digest())
    wanted, given = theirs.wanted(asked), theirs.lacking(asked)
    for raw in given:
        ours.accept(raw)
    for raw in ours.named(wanted):
        theirs.accept(raw)
    assert ours.count == theirs.count == 9
    assert ours.digest() == theirs.digest()
    assert ours.differing(theirs.digest()).sets == ()


def test_a_refusal_that_gossip_lost_arrives_with_the_verdicts() -> None:
    ours, theirs = make_pool(), make_pool()
    mark = BlobHash(b"t" * 32)
    refusal = Refusal(EpochIndex(1), RoundIndex(7), BatchInterval(0, 8), BOB.peer_id, mark)
    assert ours.accept(seal(refusal, RUN, ALICE))
    (asked,) = theirs.differing(ours.digest()).sets
    assert asked.topic is Topic.VERDICTS
    for raw in ours.lacking(theirs.differing(ours.digest())):
        assert theirs.accept(raw)
    assert theirs.digest() == ours.digest()


def test_a_statement_counts_once_and_is_news_once() -> None:
    news: list[Envelope] = []
    pool, raw = make_pool(on_new=news.append), make_statement(ALICE, 0)
    assert pool.accept(raw)
    assert not pool.accept(raw)
    assert not pool.add(open_envelope(raw, RUN))
    assert [one.raw for one in news] == [raw]


def test_strangers_and_closed_rounds_are_not_held() -> None:
    pool = make_pool()
    assert not pool.accept(make_statement(EVE, 0))
    pool.move_to(replace(FRONTIER, rounds=((EpochIndex(1), RoundIndex(8)),)))
    assert not pool.accept(make_statement(ALICE, 0))
    assert pool.count == 0


def test_moving_on_forgets_what_is_closed_and_keeps_the_rest() -> None:
    pool = make_pool()
    for index in range(6):
        pool.accept(make_statement(ALICE, index))
    pool.move_to(replace(FRONTIER, height=Height(10), block_hash=BlockHash(b"c" * 32)))
    assert pool.count == 4  # the votes for the old height are gone


def test_one_member_cannot_fill_the_pool() -> None:
    pool = make_pool()
    held = sum(pool.accept(make_statement(ALICE, 3 * index)) for index in range(100))
    assert held == 16
    assert pool.accept(make_statement(BOB, 0))


def test_what_is_no_statement_is_an_error() -> None:
    good = make_statement(ALICE, 0)
    for raw in (b"", b"junk", good[:-1], bytes([good[0]]) + good[2:], good + b"\0"):
        with pytest.raises(WireError):
            make_pool().accept(raw)


def test_a_request_that_names_a_set_twice_is_answered_once() -> None:
    pool = make_pool()
    pool.accept(make_statement(ALICE, 0))
    empty = StatementSet(Topic.COMMITMENTS, EpochIndex(1), 7, ())
    assert len(pool.lacking(PullRequest((empty,) * 50))) == 1
    unknown = StatementSet(Topic.COMMITMENTS, EpochIndex(1), 8, ())
    assert pool.lacking(PullRequest((unknown,))) == []
    assert pool.named(PullRequest((unknown,))) == []


def test_a_member_with_a_longer_log_is_asked_for_blocks() -> None:
    core = AntiEntropy(make_pool(), 1.0, Random(0).choice)
    ahead = make_pool(replace(FRONTIER, height=Height(500))).digest()
    exchange = core.on_digest(ahead)
    assert exchange.first_block == FRONTIER.height + 1
    assert exchange.block_count == MAX_BLOCKS_AT_ONCE
    assert core.on_digest(make_pool().digest()).first_block is None


def test_a_member_that_fails_thrice_is_left_alone_for_a_while() -> None:
    core = AntiEntropy(make_pool(), 1.0, Random(0).choice)
    for second in range(3):
        assert core.on_due([BOB.peer_id], second) == BOB.peer_id
        core.on_failure(BOB.peer_id, second)
    assert core.on_due([BOB.peer_id], 3.0) is None
    assert core.on_due([BOB.peer_id, ALICE.peer_id], 4.0) == ALICE.peer_id
    assert core.on_due([BOB.peer_id], 70.0) == BOB.peer_id


def test_whoever_has_moved_is_asked_at_once() -> None:
    core = AntiEntropy(make_pool(), 1.0, Random(0).choice)
    for second in range(3):
        core.on_failure(BOB.peer_id, second)
    assert core.on_due([BOB.peer_id], 3.0) is None
    core.forgive(BOB.peer_id)
    assert core.on_due([BOB.peer_id], 4.0) == BOB.peer_id
    core.on_failure(BOB.peer_id, 5.0)
    assert core.on_due([BOB.peer_id], 6.0) == BOB.peer_id


def test_with_no_members_there_is_nothing_to_do() -> None:
    nobody: list[PeerId] = []
    core = AntiEntropy(make_pool(), 1.0, Random(0).choice)
    assert core.next_deadline() is None
    assert core.on_due(nobody, 5.0) is None
    assert core.next_deadline() == 6.0
