"""Founding a run: everyone or nobody."""

from __future__ import annotations

import pytest

from psyche_p2p.consensus.effects import Broadcast, Judgement, WalRecord
from psyche_p2p.consensus.genesis import Founding, find_founding_fault, prefer_chain
from psyche_p2p.ids import BlockHash, Height, PeerId
from psyche_p2p.wire import Envelope, VoteStep
from tests.consensus.toy import CHECKER, make_vote, signers

ATTEMPT_MS = 2000
SIGNERS = signers(4)
DOCUMENTS = {size: BlockHash(bytes([size]) * 32) for size in range(1, 5)}


def _founders(size: int) -> frozenset[PeerId]:
    return frozenset(signer.peer for signer in SIGNERS[:size])


def _sent(founding: Founding) -> list[Envelope]:
    effects = founding.take_effects()
    return [effect.envelope for effect in effects if isinstance(effect, Broadcast)]


def _exchange(foundings: list[Founding], now_ms: int = 0) -> None:
    while sent := [envelope for founding in foundings for envelope in _sent(founding)]:
        for envelope in sent:
            for founding in foundings:
                founding.on_message(envelope, now_ms)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_peers_that_see_the_same_ready_set_found_a_run(size: int) -> None:
    foundings = [Founding(signer, ATTEMPT_MS) for signer in SIGNERS[:size]]
    for founding in foundings:
        founding.on_ready(DOCUMENTS[size], _founders(size), 0)
    _exchange(foundings)
    for founding in foundings:
        certificate = founding.certificate
        assert certificate is not None
        members = tuple(sorted(_founders(size)))
        assert find_founding_fault(certificate, DOCUMENTS[size], members, CHECKER) is None
        assert founding.next_deadline() is None


def test_one_missing_founder_founds_nothing() -> None:
    foundings = [Founding(signer, ATTEMPT_MS) for signer in SIGNERS[:3]]
    for founding in foundings:
        founding.on_ready(DOCUMENTS[4], _founders(4), 0)
    _exchange(foundings)
    assert [founding.certificate for founding in foundings] == [None] * 3


def test_a_latecomer_is_taken_in_by_the_next_attempt() -> None:
    foundings = [Founding(signer, ATTEMPT_MS) for signer in SIGNERS[:3]]
    for founding, size in zip(foundings, (2, 3, 3), strict=True):
        founding.on_ready(DOCUMENTS[size], _founders(size), 0)
    _exchange(foundings)
    assert foundings[0].certificate is None
    for founding in foundings:
        founding.on_ready(DOCUMENTS[3], _founders(3), 500)
        founding.on_timer(ATTEMPT_MS)
    _exchange(foundings, ATTEMPT_MS)
    assert [founding.attempt for founding in foundings] == [1] * 3
    assert len({founding.certificate for founding in foundings}) == 1
    assert foundings[0].certificate is not None


def test_a_restarted_founder_signs_nothing_else_in_an_old_attempt() -> None:
    founding = Founding(SIGNERS[0], ATTEMPT_MS)
    founding.on_ready(DOCUMENTS[2], _founders(2), 0)
    (first,) = _sent(founding)
    again = Founding(SIGNERS[0], ATTEMPT_MS)
    again.restore([WalRecord(Height(0), first, ())])
    again.on_ready(DOCUMENTS[3], _founders(3), 0)
    (second,) = _sent(again)
    assert second.message.view == first.message.view + 1


def test_bad_founding_messages_are_judged() -> None:
    founding = Founding(SIGNERS[0], ATTEMPT_MS)
    founding.on_ready(DOCUMENTS[2], _founders(2), 0)
    other, document = SIGNERS[1], DOCUMENTS[2]
    cases = [
        (make_vote(other, VoteStep.PRECOMMIT, document, height=1), Judgement.IGNORE),
        (make_vote(other, VoteStep.PREVOTE, document, height=0), Judgement.REJECT),
        (make_vote(SIGNERS[3], VoteStep.PRECOMMIT, document, height=0), Judgement.IGNORE),
        (make_vote(other, VoteStep.PRECOMMIT, document, height=0), Judgement.ACCEPT),
        (make_vote(other, VoteStep.PRECOMMIT, DOCUMENTS[3], height=0), Judgement.REJECT),
    ]
    for envelope, expected in cases:
        assert founding.on_message(envelope, 0).judgement is expected


def test_the_longer_chain_is_preferred_then_the_lower_hash() -> None:
    low, high = BlockHash(b"\x00" * 32), BlockHash(b"\xff" * 32)
    assert prefer_chain((Height(1), low), (Height(2), high))
    assert not prefer_chain((Height(2), high), (Height(1), low))
    assert prefer_chain((Height(2), high), (Height(2), low))
    assert not prefer_chain((Height(2), low), (Height(2), low))
