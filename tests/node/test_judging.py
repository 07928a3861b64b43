"""Strangers ask to join, members say everything, and one key gives orders."""

from __future__ import annotations

from psyche_p2p.identity import Identity
from psyche_p2p.ids import EpochIndex, RunId
from psyche_p2p.net.gatekeeper import Outcome
from psyche_p2p.node.judging import judge
from psyche_p2p.wire import Withdraw, open_envelope, seal
from psyche_p2p.wire.messages import OwnerAction, OwnerOrder
from tests.coordinator.world import identity, make_join

OWNER, OTHER = identity(1), identity(2)
RUN = RunId(b"r" * 32)


def outcome(message: object, sender: Identity, *, is_member: bool) -> Outcome:
    envelope = open_envelope(seal(message, RUN, sender), RUN)
    return judge(envelope, OWNER.peer_id, is_member=is_member).outcome


def test_who_may_say_what() -> None:
    join, leave = make_join(), Withdraw(EpochIndex(0), "bye", 2)
    order = OwnerOrder(OwnerAction.PAUSE, 1)
    assert outcome(join, OTHER, is_member=False) is Outcome.ACCEPT
    assert outcome(leave, OTHER, is_member=True) is Outcome.ACCEPT
    assert outcome(leave, OTHER, is_member=False) is Outcome.IGNORE
    assert outcome(order, OWNER, is_member=False) is Outcome.ACCEPT
    assert outcome(order, OTHER, is_member=True) is Outcome.REJECT
