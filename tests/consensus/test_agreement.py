"""One height decided by a few peers, in every way that it can come about."""

from __future__ import annotations

import pytest

from psyche_p2p.consensus.blocks import compute_block_hash
from psyche_p2p.consensus.certificates import find_certificate_fault
from psyche_p2p.consensus.effects import Halted
from psyche_p2p.ids import View
from psyche_p2p.wire import Envelope, Proposal, VoteStep
from tests.consensus.toy import (
    CHECKER,
    TIMEOUTS,
    ToyNetwork,
    ToyPeer,
    hash_of,
    make_proposal,
    make_vote,
    signers,
)

PREVOTE, PRECOMMIT = VoteStep.PREVOTE, VoteStep.PRECOMMIT


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 13])
def test_all_decide_the_same_block_in_the_first_view(count: int) -> None:
    network = ToyNetwork(count)
    network.run_due()
    assert network.heights() == [1] * count
    assert len({compute_block_hash(peer.decided[0].block) for peer in network.peers}) == 1
    committee = ToyPeer(signers(count)[0], network.members).app.committee()
    for peer in network.peers:
        certificate = peer.decided[0].certificate
        assert certificate.view == 0
        assert find_certificate_fault(certificate, committee, CHECKER) is None


def test_an_idle_network_is_silent() -> None:
    network = ToyNetwork(4)
    network.run_due()
    count = network.message_count
    assert [peer.core.next_deadline() for peer in network.peers] == [None] * 4
    network.pass_time(3_600_000)
    assert network.message_count == count


def test_a_dead_proposer_costs_one_view() -> None:
    network = ToyNetwork(4)
    proposer = network.peers[0].app.proposer(View(0))
    network.cut.add(proposer)
    network.run_due()
    network.pass_time(TIMEOUTS.propose_ms)
    assert sorted(network.heights()) == [0, 0, 0, 0]
    network.pass_time(TIMEOUTS.propose_ms + 2 * TIMEOUTS.vote_ms)
    assert sorted(network.heights()) == [0, 1, 1, 1]
    assert {peer.decided[0].certificate.view for peer in network.reachable()} == {1}


def test_without_a_quorum_nothing_is_decided_and_afterwards_it_is() -> None:
    network = ToyNetwork(4)
    network.cut = set(network.members[2:])
    network.run_due()
    network.pass_time(60_000)
    assert network.heights() == [0] * 4
    network.cut = set()
    network.run_due()
    network.pass_time(120_000)
    assert network.heights() == [1] * 4


def test_a_peer_that_is_not_due_follows_the_others() -> None:
    network = ToyNetwork(4)
    for peer in network.peers[:3]:
        peer.core.on_due(0)
    network.settle()
    network.pass_time(10_000)
    assert network.heights() == [1] * 4


class TestLocking:
    """Peer 3 of 4, fed by hand; the proposers of height 1 are 1, 2, 3, 0 in views 0 to 3."""

    def setup_method(self) -> None:
        self.signers = signers(4)
        members = [signer.peer for signer in self.signers]
        self.peer = ToyPeer(self.signers[3], members)
        self.first = make_proposal(self.signers[1], self.peer.app, 0, b"first")
        self.peer.core.on_due(0)

    def feed(self, *envelopes: Envelope) -> None:
        for envelope in envelopes:
            self.peer.core.on_message(envelope, 0)
        self.halts = [e for e in self.peer.collect() if isinstance(e, Halted)]

    def lock_first(self) -> None:
        """Everyone prevotes the first block, and our peer alone sees it."""
        first = hash_of(self.first)
        self.feed(self.first, *(make_vote(self.signers[i], PREVOTE, first) for i in (0, 1)))
        assert self.peer.votes(PRECOMMIT) == [first]

    def enter_view(self, view: int) -> None:
        voters = self.signers[:2]
        self.feed(*(make_vote(signer, PRECOMMIT, None, view=view) for signer in voters))
        assert self.peer.core.state.view == view

    def test_a_locked_peer_prevotes_nothing_for_another_new_block(self) -> None:
        self.lock_first()
        self.enter_view(1)
        self.feed(make_proposal(self.signers[2], self.peer.app, 1, b"second"))
        assert self.peer.votes(PREVOTE) == [hash_of(self.first), None]

    def test_a_locked_peer_prevotes_its_own_block_again(self) -> None:
        self.lock_first()
        self.enter_view(1)
        block = self.first.message.block
        again = Proposal(block.height, View(1), View(0), block)
        self.feed(self.signers[2].seal(again))
        assert self.peer.votes(PREVOTE) == [hash_of(self.first)] * 2

    def test_a_lock_yields_to_a_later_quorum_of_prevotes(self) -> None:
        self.lock_first()
        self.enter_view(3)
        other = make_proposal(self.signers[2], self.peer.app, 1, b"second").message.block
        second = compute_block_hash(other)
        repeat = self.signers[0].seal(Proposal(other.height, View(3), View(1), other))
        self.feed(repeat)
        assert self.peer.votes(PREVOTE) == [hash_of(self.first)]
        self.feed(*(make_vote(self.signers[i], PREVOTE, second, view=1) for i in (0, 1, 2)))
        assert self.peer.votes(PREVOTE) == [hash_of(self.first), second]

    def test_a_lock_does_not_yield_to_an_earlier_quorum(self) -> None:
        """The quorum named by the repeated block is older than our lock."""
        self.enter_view(2)
        own = next(e for e in self.peer.sent if isinstance(e.message, Proposal))
        mine = hash_of(own)
        self.feed(*(make_vote(self.signers[i], PREVOTE, mine, view=2) for i in (0, 2)))
        assert self.peer.core.state.locked_view == 2
        self.enter_view(3)
        first = hash_of(self.first)
        self.feed(*(make_vote(self.signers[i], PREVOTE, first, view=0) for i in (0, 1, 2)))
        block = self.first.message.block
        self.feed(self.signers[0].seal(Proposal(block.height, View(3), View(0), block)))
        assert self.peer.votes(PREVOTE)[-1] is None

    def test_a_valid_block_is_proposed_again(self) -> None:
        self.lock_first()
        self.enter_view(2)
        proposals = [e.message for e in self.peer.sent if isinstance(e.message, Proposal)]
        assert [(p.view, p.valid_view) for p in proposals] == [(2, 0)]
        assert compute_block_hash(proposals[0].block) == hash_of(self.first)

    def test_a_vote_said_twice_counts_once(self) -> None:
        first = hash_of(self.first)
        vote = make_vote(self.signers[0], PREVOTE, first)
        self.feed(self.first, vote, vote, vote)
        assert self.peer.votes(PRECOMMIT) == []

    def test_an_invalid_block_gets_no_vote(self) -> None:
        self.feed(make_proposal(self.signers[1], self.peer.app, 0, b"bad"))
        assert self.peer.votes(PREVOTE) == [None]

    def test_a_quorum_for_an_invalid_block_halts_the_peer(self) -> None:
        bad = make_proposal(self.signers[1], self.peer.app, 0, b"bad")
        votes = [make_vote(self.signers[i], PRECOMMIT, hash_of(bad)) for i in (0, 1, 2)]
        self.feed(bad, *votes)
        assert [halted.height for halted in self.halts] == [1]
        assert not self.peer.core.is_voting
        assert self.peer.app.blocks == []

    def test_a_block_that_is_too_early_waits_for_its_time(self) -> None:
        self.peer.app.opens_at_ms = 500
        self.feed(self.first)
        assert self.peer.votes(PREVOTE) == []
        self.peer.core.on_due(500)
        assert self.peer.votes(PREVOTE) == [hash_of(self.first)]

    def test_a_block_that_an_honest_peer_voted_for_is_not_too_early(self) -> None:
        self.peer.app.opens_at_ms = 10**9
        votes = [make_vote(self.signers[i], PREVOTE, hash_of(self.first)) for i in (0, 1)]
        self.feed(self.first, votes[0])
        assert self.peer.votes(PREVOTE) == []
        self.feed(votes[1])
        assert self.peer.votes(PREVOTE) == [hash_of(self.first)]

    def test_two_votes_of_one_voter_are_evidence_once(self) -> None:
        first = make_vote(self.signers[0], PREVOTE, hash_of(self.first))
        self.feed(first, make_vote(self.signers[0], PREVOTE, None))
        self.feed(make_vote(self.signers[0], PREVOTE, None))
        assert [one.offender for one in self.peer.evidence] == [self.signers[0].peer]
        assert self.peer.evidence[0].first == first
        assert self.peer.evidence[0].second.message.block_hash is None

    def test_two_proposals_of_one_view_are_evidence(self) -> None:
        self.feed(self.first, make_proposal(self.signers[1], self.peer.app, 0, b"other"))
        assert [one.offender for one in self.peer.evidence] == [self.signers[1].peer]

    def test_votes_of_different_views_do_not_add_up(self) -> None:
        first = hash_of(self.first)
        self.feed(
            self.first,
            make_vote(self.signers[0], PREVOTE, first),
            make_vote(self.signers[1], PREVOTE, first, view=1),
        )
        assert self.peer.votes(PRECOMMIT) == []

    def test_a_liars_second_vote_counts_for_its_own_value(self) -> None:
        """Others saw a quorum with it; whoever heard the other vote first must see it too."""
        first = hash_of(self.first)
        self.feed(
            self.first,
            make_vote(self.signers[0], PREVOTE, None),
            make_vote(self.signers[1], PREVOTE, first),
        )
        assert self.peer.votes(PRECOMMIT) == []
        self.feed(make_vote(self.signers[0], PREVOTE, first))
        assert self.peer.votes(PRECOMMIT) == [first]
