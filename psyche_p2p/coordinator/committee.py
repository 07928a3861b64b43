"""Who witnesses and votes, and who proposes, at a height (docs/protocol.md, "Committees")."""

from __future__ import annotations

from collections.abc import Iterable

from psyche_p2p.coordinator.quorum import compute_quorum, tolerated_liars
from psyche_p2p.coordinator.rendezvous import score
from psyche_p2p.coordinator.rules import Rules
from psyche_p2p.coordinator.state import State
from psyche_p2p.ids import PeerId, View
from psyche_p2p.wire.messages import Role
from psyche_p2p.wire.records import Member

MAX_COMMITTEE = 32


def committee_at(state: State) -> tuple[PeerId, ...]:
    """The voters on the block that follows this state."""
    return select_committee(state.rules, state.active_members, state.seed)


def quorum_at(state: State) -> int:
    """How many of the committee must agree on the block that follows this state."""
    return compute_quorum(len(committee_at(state)))


def proposer_order(state: State) -> tuple[PeerId, ...]:
    """The committee in the order in which its members propose, one a view, then again.

    Members that were passed over or silent, and have not been heard of since, come last: a dead one
    costs one view change at most, and not one in every turn of its own.
    """
    late = {one.peer for one in state.members if one.is_late or one.silent_rounds > 0}
    return tuple(
        sorted(
            committee_at(state),
            key=lambda peer: (peer in late, score(state.seed, "proposer", peer)),
        )
    )


def proposer_at(state: State, view: View) -> PeerId:
    """Who may propose the block that follows this state in this view."""
    order = proposer_order(state)
    return order[view % len(order)]


def select_committee(rules: Rules, members: Iterable[Member], seed: bytes) -> tuple[PeerId, ...]:
    """The members of a committee: those with the witness role first, then by rendezvous.

    Where not all members find a seat, as many as may lie in a committee of its size, and at least
    one, are kept for the trainers of the lowest tiers: somebody must know every tier's parameters,
    and those with the witness role still decide alone.
    """
    if rules.authorities:
        return rules.authorities
    size = rules.witness_nodes or MAX_COMMITTEE
    ranked = sorted(
        members,
        key=lambda member: (
            Role.WITNESS not in member.join.roles,
            score(seed, "committee", member.peer),
        ),
    )
    trainers = [member for member in ranked if Role.TRAINER in member.join.roles]
    kept = sorted(trainers, key=lambda one: one.join.tier)[: max(1, tolerated_liars(size))]
    others = [member for member in ranked if member not in kept]
    seated = {one.peer for one in (*kept, *others[: size - len(kept)])}
    return tuple(member.peer for member in ranked if member.peer in seated)


def get_present(state: State, peers: Iterable[PeerId]) -> frozenset[PeerId]:
    """Those of a committee whose word still counts: authorities, and active members."""
    if state.rules.authorities:
        return frozenset(peers)
    return frozenset(peers).intersection(member.peer for member in state.active_members)
