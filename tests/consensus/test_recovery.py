"""Crashes between any two effects, with memory, without it, and what may be said afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from psyche_p2p.consensus.effects import Broadcast, Decided, Effect, Persist, WalRecord
from psyche_p2p.consensus.memory import Memory
from psyche_p2p.ids import Height, PeerId
from psyche_p2p.wire import DecidedBlock, Envelope, Vote, VoteStep
from tests.consensus.toy import (
    ToyNetwork,
    ToyPeer,
    hash_of,
    make_proposal,
    make_vote,
    signers,
)

SIGNERS = signers(4)
MEMBERS = [signer.peer for signer in SIGNERS]


def _said(effects: Sequence[Effect]) -> list[Envelope]:
    return [effect.envelope for effect in effects if isinstance(effect, Broadcast)]


def _script() -> tuple[ToyPeer, list[Effect]]:
    """Peer 3 prevotes, locks, precommits, and in view 2 proposes its locked block again."""
    peer = ToyPeer(SIGNERS[3], MEMBERS)
    first = make_proposal(SIGNERS[1], peer.app, 0, b"first")
    prevotes = [make_vote(SIGNERS[i], VoteStep.PREVOTE, hash_of(first)) for i in (0, 1)]
    later = [make_vote(SIGNERS[i], VoteStep.PRECOMMIT, None, view=2) for i in (0, 1)]
    peer.core.on_due(0)
    for envelope in (first, *prevotes, *later):
        peer.core.on_message(envelope, 0)
    return peer, peer.core.take_effects()


EFFECT_COUNT = len(_script()[1])


@pytest.mark.parametrize("crash_after", range(EFFECT_COUNT + 1))
def test_no_crash_makes_a_peer_contradict_itself(crash_after: int) -> None:
    """After a restart the peer meets the tempting other block, in the view it had voted in."""
    _, effects = _script()
    done = effects[:crash_after]
    wal = [effect.record for effect in done if isinstance(effect, Persist)]
    again = ToyPeer(SIGNERS[3], MEMBERS)
    again.core.restore(wal, 0)
    other = make_proposal(SIGNERS[1], again.app, 0, b"other")
    tempting = [make_vote(SIGNERS[i], VoteStep.PREVOTE, hash_of(other)) for i in (0, 1)]
    again.core.on_due(0)
    for envelope in (other, *tempting):
        again.core.on_message(envelope, 0)
    said: dict[object, object] = {}
    for envelope in (*_said(done), *_said(again.core.take_effects())):
        if envelope.sender != SIGNERS[3].peer:
            continue
        message = envelope.message
        step = message.step if isinstance(message, Vote) else None
        content = message.block_hash if isinstance(message, Vote) else hash_of(envelope)
        assert said.setdefault((message.view, step), content) == content


def test_every_statement_is_written_before_it_is_sent() -> None:
    _, effects = _script()
    written: set[bytes] = set()
    for effect in effects:
        if isinstance(effect, Persist):
            written.add(effect.record.own.id)
        if isinstance(effect, Broadcast) and not effect.is_repeat:
            assert effect.envelope.id in written


def test_a_lock_and_its_proof_survive_a_restart() -> None:
    before, effects = _script()
    wal = [effect.record for effect in effects if isinstance(effect, Persist)]
    again = ToyPeer(SIGNERS[3], MEMBERS)
    again.core.restore(wal, 0)
    for name in ("view", "step", "locked_view", "locked_hash", "valid_view"):
        assert getattr(again.core.state, name) == getattr(before.core.state, name)
    assert again.core.state.list_proof() == before.core.state.list_proof()


def test_a_restart_repeats_what_may_not_have_been_sent() -> None:
    _, effects = _script()
    (record, *_) = [effect.record for effect in effects if isinstance(effect, Persist)]
    again = ToyPeer(SIGNERS[3], MEMBERS)
    again.core.restore([record], 0)
    assert record.own in again.take_sent()


def test_records_of_decided_heights_are_not_replayed() -> None:
    network = ToyNetwork(4)
    network.run_due()
    old = network.peers[3]
    again = ToyPeer(SIGNERS[3], MEMBERS, decided=old.decided)
    again.core.restore(old.wal, 0)
    assert again.core.take_effects() == []


class TestWithoutMemory:
    """A peer whose write-ahead log is gone or damaged."""

    def setup_method(self) -> None:
        self.network = ToyNetwork(4)
        for _ in range(3):
            self.network.run_due()
        self.lost = ToyPeer(SIGNERS[3], MEMBERS, Memory(is_complete=False))

    def catch_up(self, blocks: Sequence[DecidedBlock]) -> None:
        for decided in blocks:
            assert self.lost.core.on_decided(decided, 0).reason == ""

    def hear(self, *peers: PeerId, height: int = 4) -> None:
        for peer in peers:
            self.lost.core.on_heard(peer, Height(height))

    def test_it_does_not_vote(self) -> None:
        self.catch_up(self.network.peers[0].decided)
        self.lost.core.on_due(0)
        self.lost.core.on_message(make_proposal(SIGNERS[0], self.lost.app), 0)
        assert self.lost.take_sent() == []
        assert self.lost.core.next_deadline() is None

    def test_less_than_a_quorum_of_answers_is_not_enough(self) -> None:
        self.catch_up(self.network.peers[0].decided)
        self.hear(*MEMBERS[:2])
        self.hear(PeerId("a stranger"))
        assert not self.lost.core.is_voting

    def test_it_votes_two_heights_above_what_a_quorum_was_deciding(self) -> None:
        self.catch_up(self.network.peers[0].decided)
        self.hear(*MEMBERS[:3])
        for expected in (False, False, True):
            assert self.lost.core.is_voting is expected
            self.network.cut = {MEMBERS[3]}
            self.network.run_due()
            self.network.pass_time(self.network.now_ms + 5000)
            self.catch_up([self.network.peers[0].decided[len(self.lost.app.blocks)]])

    def test_hearing_alone_is_not_catching_up(self) -> None:
        self.hear(*MEMBERS[:3])
        assert not self.lost.core.is_voting
        self.catch_up(self.network.peers[0].decided)
        assert not self.lost.core.is_voting


def test_decided_comes_before_anything_said_about_the_next_height() -> None:
    network = ToyNetwork(1)
    peer = network.peers[0]
    peer.core.on_due(0)
    effects = peer.core.take_effects()
    assert isinstance(effects[-1], Decided)
    records: list[WalRecord] = [e.record for e in effects if isinstance(e, Persist)]
    assert {record.height for record in records} == {1}
