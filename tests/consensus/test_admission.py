"""Messages that no honest peer sends, and far too many of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.consensus.early import MAX_EARLY_PROPOSALS, MAX_EARLY_VOTES, EarlyMessages
from psyche_p2p.consensus.effects import Judgement, Verdict
from psyche_p2p.consensus.height import MAX_PROPOSAL_VIEWS_AHEAD
from psyche_p2p.consensus.votes import MAX_VIEWS_AHEAD, MAX_VIEWS_BEHIND, VoteBook
from psyche_p2p.ids import BlockHash, Height, View
from psyche_p2p.wire import Commitment, Envelope, Proposal, Vote, VoteStep
from tests.consensus.toy import ToyPeer, hash_of, make_proposal, make_vote, signers

SIGNERS = signers(5)
MEMBERS = [signer.peer for signer in SIGNERS[:4]]
PREVOTE, PRECOMMIT = VoteStep.PREVOTE, VoteStep.PRECOMMIT


def _peer() -> ToyPeer:
    peer = ToyPeer(SIGNERS[3], MEMBERS)
    peer.core.on_due(0)
    peer.collect()
    return peer


def _judge(envelope: Envelope) -> Verdict:
    return _peer().core.on_message(envelope, 0)


def _proposal(in_view: int = 0, **changes: object) -> Envelope:
    proposer = SIGNERS[(1 + in_view) % 4]
    made = make_proposal(proposer, _peer().app, in_view)
    block = replace(made.message.block, **changes)
    return proposer.seal(replace(made.message, block=block))


@pytest.mark.parametrize(
    ("envelope", "judgement", "reason"),
    [
        (make_vote(SIGNERS[0], PREVOTE, None), Judgement.ACCEPT, ""),
        (make_vote(SIGNERS[0], PREVOTE, None, height=0), Judgement.IGNORE, "already decided"),
        (make_vote(SIGNERS[0], PREVOTE, None, height=2), Judgement.IGNORE, "kept for later"),
        (make_vote(SIGNERS[0], PREVOTE, None, height=99), Judgement.IGNORE, "later height"),
        (make_vote(SIGNERS[4], PREVOTE, None, height=2), Judgement.IGNORE, "stranger"),
        (make_vote(SIGNERS[4], PREVOTE, None), Judgement.REJECT, "committee"),
        (_proposal(), Judgement.ACCEPT, ""),
        (_proposal(height=Height(2)), Judgement.REJECT, "height 2, not 1"),
        (_proposal(prev_hash=BlockHash(bytes(32))), Judgement.REJECT, "does not follow"),
        (_proposal(view=View(1)), Judgement.REJECT, "of another view"),
        (_proposal(proposer=MEMBERS[0]), Judgement.REJECT, "proposer was not"),
        (_proposal(40), Judgement.IGNORE, "too far ahead"),
    ],
)
def test_every_message_is_judged_with_a_reason(
    envelope: Envelope, judgement: Judgement, reason: str
) -> None:
    verdict = _judge(envelope)
    assert verdict.judgement is judgement
    assert reason in verdict.reason


def test_a_proposal_out_of_turn_is_rejected() -> None:
    made = make_proposal(SIGNERS[2], _peer().app, 0)
    assert "not the proposer" in _judge(made).reason


@pytest.mark.parametrize(("valid_view", "block_view"), [(1, 0), (2, 0), (0, 1)])
def test_views_of_a_repeated_block_must_be_in_order(valid_view: int, block_view: int) -> None:
    made = make_proposal(SIGNERS[(1 + block_view) % 4], _peer().app, block_view)
    again = Proposal(Height(1), View(1), View(valid_view), made.message.block)
    assert "out of order" in _judge(SIGNERS[2].seal(again)).reason


def test_what_is_not_agreement_is_rejected() -> None:
    commitment = replace(make_vote(SIGNERS[0], PREVOTE, None), message=Commitment)
    assert "not a message of agreement" in _judge(commitment).reason


def test_a_rejected_message_changes_nothing() -> None:
    peer, other = _peer(), _peer()
    for envelope in (_proposal(height=Height(2)), make_vote(SIGNERS[4], PREVOTE, None)):
        assert peer.core.on_message(envelope, 0).judgement is Judgement.REJECT
    assert peer.core.state == replace(other.core.state, votes=peer.core.state.votes)
    assert peer.core.take_effects() == []


votes = st.builds(
    Vote,
    height=st.sampled_from([Height(0), Height(1), Height(2), Height(1 << 60)]),
    view=st.one_of(st.integers(0, 6), st.integers(0, 2**62)).map(View),
    step=st.sampled_from(VoteStep),
    block_hash=st.one_of(st.none(), st.sampled_from([BlockHash(bytes([i]) * 32) for i in (1, 2)])),
)


@given(st.lists(st.tuples(st.integers(0, 4), votes), max_size=40), st.integers(0, 3))
def test_any_messages_from_anyone_leave_a_working_peer(
    messages: list[tuple[int, Vote]], due_after: int
) -> None:
    peer = ToyPeer(SIGNERS[3], MEMBERS)
    for number, (sender, vote) in enumerate(messages):
        if number == due_after:
            peer.core.on_due(0)
        peer.core.on_message(SIGNERS[sender].seal(vote), number)
        peer.core.on_timer(number)
    said: dict[object, object] = {}
    for envelope in peer.take_sent():
        message = envelope.message
        if envelope.sender == SIGNERS[3].peer and isinstance(message, Vote):
            key = (message.height, message.view, message.step)
            assert said.setdefault(key, message.block_hash) == message.block_hash


def test_one_voter_fills_only_its_own_few_views() -> None:
    peer = _peer()
    for view in range(1000, 1, -1):
        peer.core.on_message(make_vote(SIGNERS[0], PREVOTE, None, view=view), 0)
    kept = peer.core.state.votes.count_kept(SIGNERS[0].peer)
    assert kept <= MAX_VIEWS_AHEAD
    for view in range(2000, 2300):
        peer.core.on_message(make_vote(SIGNERS[0], PREVOTE, None, view=view), 0)
    votes_kept = peer.core.state.votes
    assert votes_kept.count_kept(SIGNERS[0].peer) <= MAX_VIEWS_AHEAD
    assert votes_kept.find(SIGNERS[0].peer, View(2299), PREVOTE) is not None
    assert len(votes_kept) <= MAX_VIEWS_AHEAD + 2


def test_one_voter_cannot_fill_the_past() -> None:
    book = VoteBook()
    for view in range(500):
        vote = make_vote(SIGNERS[0], PREVOTE, None, view=view)
        if book.has_room(vote.sender, View(view), View(600)):
            book.add(vote, View(600))
    assert book.count_kept(SIGNERS[0].peer) <= MAX_VIEWS_BEHIND


def test_a_step_holds_few_values_of_one_voter() -> None:
    peer = _peer()
    for number in range(100):
        value = BlockHash(number.to_bytes(32, "big"))
        peer.core.on_message(make_vote(SIGNERS[0], PREVOTE, value), 0)
    assert peer.core.state.votes.count_kept(SIGNERS[0].peer) == 1


def test_proposals_are_kept_for_few_views_ahead() -> None:
    peer = _peer()
    for view in range(0, 100, 4):
        peer.core.on_message(make_proposal(SIGNERS[1], peer.app, view), 0)
    assert len(peer.core.state.proposals) <= MAX_PROPOSAL_VIEWS_AHEAD + 2


def test_the_next_height_holds_few_messages_of_one_sender() -> None:
    early = EarlyMessages()
    for view in range(50):
        early.keep(make_vote(SIGNERS[0], PREVOTE, None, view=view, height=2))
        early.keep(make_proposal(SIGNERS[0], _peer().app, view))
    assert len(early) == MAX_EARLY_VOTES + MAX_EARLY_PROPOSALS
    assert len(early.take_all()) == MAX_EARLY_VOTES + MAX_EARLY_PROPOSALS
    assert len(early) == 0


def test_a_quorum_that_a_liar_unmakes_is_no_quorum() -> None:
    """Its precommit counted until it filled its room with others; the block came only then."""
    peer = _peer()
    made = make_proposal(SIGNERS[2], peer.app, 1)
    votes_for_it = [make_vote(signer, PRECOMMIT, hash_of(made), view=1) for signer in SIGNERS[:3]]
    for envelope in votes_for_it:
        peer.core.on_message(envelope, 0)
    assert peer.core.state.decidable is not None
    for view in range(2, 80):
        peer.core.on_message(make_vote(SIGNERS[0], PREVOTE, None, view=view), 0)
        peer.core.on_message(make_vote(SIGNERS[1], PREVOTE, None, view=view), 0)
    assert peer.core.on_message(made, 0).judgement is Judgement.ACCEPT
    assert peer.core.state.height == 1


def test_one_liar_alone_moves_nobody_to_another_view() -> None:
    peer = _peer()
    for step in VoteStep:
        peer.core.on_message(make_vote(SIGNERS[0], step, None, view=7), 0)
    assert peer.core.state.view == 0
    peer.core.on_message(make_vote(SIGNERS[1], PREVOTE, None, view=5), 0)
    assert peer.core.state.view == 5


def test_messages_of_the_next_height_count_once_we_are_there() -> None:
    ahead, peer = ToyPeer(SIGNERS[2], MEMBERS), _peer()
    block = make_proposal(SIGNERS[1], peer.app)
    for app in (ahead.app, peer.app):
        app.opens_at_ms = 0
    ahead.app.apply_block(block.message.block)
    early = make_proposal(SIGNERS[2], ahead.app)
    assert "kept for later" in peer.core.on_message(early, 0).reason
    peer.core.on_message(block, 0)
    for signer in SIGNERS[:3]:
        peer.core.on_message(make_vote(signer, PRECOMMIT, hash_of(block)), 0)
    assert peer.core.state.height == 2
    assert peer.votes(PREVOTE) == [hash_of(block), hash_of(early)]
