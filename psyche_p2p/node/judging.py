"""Who may say what in a run's gossip."""

from __future__ import annotations

from psyche_p2p.net.gatekeeper import ACCEPTED, Judgement, ignore, reject
from psyche_p2p.wire import Envelope, Join
from psyche_p2p.wire.messages import OwnerOrder


def judge(envelope: Envelope, owner: str, *, is_member: bool) -> Judgement:
    """Strangers may only ask to join, and the run's owner alone may give orders."""
    if isinstance(envelope.message, OwnerOrder):
        is_owner = envelope.sender == owner
        return ACCEPTED if is_owner else reject("an order of somebody else than the owner")
    if isinstance(envelope.message, Join) or is_member:
        return ACCEPTED
    return ignore("not a member of this run")
