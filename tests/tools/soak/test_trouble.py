"""When a peer that was hurt counts as away, and when as back."""

from __future__ import annotations

from pathlib import Path

import pytest
from localnet_parts.peer import Peer
from localnet_parts.plan import identity_of
from localnet_parts.tally import Tally
from soak_parts.trouble import Kind, Trouble, sum_up

from psyche_p2p.ids import PeerId
from psyche_p2p.observe.events import Applied, Recorded, RoundClosed

FREED_AT_ROUND = 10


def hurt(kind: Kind = Kind.STOP) -> Trouble:
    """A peer that was stopped and woken when the others had closed round 10."""
    peer = Peer(0, Tally(identity_of(0, 0).peer_id, 0, "trainer"), Path("peer0"))
    trouble = Trouble(kind, peer, began_s=1.0, over_s=5.0)
    trouble.freed_s, trouble.round = 5.0, FREED_AT_ROUND
    return trouble


def close(trouble: Trouble, number: int, *trainers: PeerId) -> None:
    event = RoundClosed(number, number, 1, 1, trainers, ())
    trouble.peer.tally.on_event(Recorded(0, event))


def test_who_has_not_been_woken_is_away() -> None:
    trouble = hurt()
    trouble.freed_s = None
    close(trouble, FREED_AT_ROUND + 5)
    assert trouble.is_away


def test_who_has_seen_no_round_since_is_away() -> None:
    assert hurt().is_away


def test_who_sees_new_rounds_is_not_away_but_not_back() -> None:
    trouble = hurt()
    close(trouble, FREED_AT_ROUND + 2)
    trouble.look(7.0)
    assert not trouble.is_away
    assert trouble.back_s is None


@pytest.mark.parametrize(("number", "is_back"), [(1, False), (2, True)])
def test_only_what_was_trained_since_proves_that_it_is_back(number: int, is_back: bool) -> None:
    trouble = hurt()
    close(trouble, FREED_AT_ROUND + number, trouble.peer.tally.peer)
    trouble.look(7.5)
    assert (trouble.seconds == 2.5) is is_back


def test_a_newcomer_is_not_missed() -> None:
    assert not hurt(Kind.JOIN).is_away


def test_every_kind_is_counted() -> None:
    back, away = hurt(), hurt()
    back.back_s = 9.0
    summed = sum_up([back, away])
    assert (summed["stopped"].count, summed["stopped"].seconds) == (2, [4.0])
    assert summed["joined"].count == 0


def test_other_parameters_after_the_same_round_are_remembered() -> None:
    tally = hurt().peer.tally
    for roots in (("a",), ("a",), ("b",), ("a",)):
        tally.on_event(Recorded(0, Applied(3, roots, 0.1)))
    assert tally.contradicted == {3}
