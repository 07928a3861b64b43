"""The end of an epoch: whose word on the final parameters counts, and the CloseEpoch it makes.

The close needs a quorum of the closing committee. Each tier's root needs a quorum of those who hold
that tier: of the closing committee, or of all members where no one of the committee does.
"""

from __future__ import annotations

from collections.abc import Iterable

from psyche_p2p.coordinator.committee import get_present
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.coordinator.require import require_rising
from psyche_p2p.coordinator.roots import UNHELD, find_agreed, require_whole_vector
from psyche_p2p.coordinator.signed import Signed, Verify, latest_by_sender, require_signed
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import ParamRoot, PeerId, short_id
from psyche_p2p.wire.commands import CloseEpoch, PeerSignature
from psyche_p2p.wire.messages import Attestation


def final_attestation(state: State, param_roots: tuple[ParamRoot, ...]) -> Attestation:
    """What members sign in COOLDOWN: the parameters after every settled round.

    `param_roots` are the signer's own: from the smallest tier's to its tier's.
    """
    return Attestation(state.epoch, state.next_round, (), state.closed_count, param_roots)


def closing_voters(state: State) -> frozenset[PeerId]:
    """Everyone whose final attestation the end of this epoch can use."""
    return _closers(state).union(*_holders(state))


def make_close_epoch(state: State, attestations: Iterable[Signed]) -> CloseEpoch | None:
    """The CloseEpoch that a quorum's final attestations prove; None as long as they do not."""
    voters = closing_voters(state)
    said = latest_by_sender(
        one for one in attestations if one.sender in voters and _is_final(state, one)
    )
    vectors = {peer: signed.message.param_roots for peer, signed in said.items()}
    agreed = find_agreed(vectors, _holders(state))
    if agreed is None:
        return None
    signatures = tuple(
        PeerSignature(peer, said[peer].signature)
        for peer in sorted(said)
        if vectors[peer] == agreed[: len(vectors[peer])]
    )
    return CloseEpoch(state.epoch, agreed, signatures)


def require_final_roots(state: State, command: CloseEpoch, verify: Verify) -> None:
    """Rejected unless this is how the epoch's parameters ended, by the quorums above."""
    require_whole_vector(state.rules, command.param_roots)
    require_rising([one.peer for one in command.signatures], "witnesses")
    voters = closing_voters(state)
    for one in command.signatures:
        if one.peer not in voters:
            raise Rejected(f"{short_id(one.peer)} is not on the committee of this epoch's end")
        own = command.param_roots[: state.root_count_of(one.peer)]
        statement = final_attestation(state, own)
        require_signed(verify, state.run_id, one.peer, statement, one.signature)
    signers = frozenset(one.peer for one in command.signatures)
    _require_quorum(signers, _closers(state), "witnesses reached these roots")
    for place, holders in enumerate(_holders(state)):
        tier = state.rules.max_tier - place
        if holders:
            _require_quorum(signers, holders, f"holders of tier {tier} reached its root")
        elif command.param_roots[place] != UNHELD:
            raise Rejected(f"a root of tier {tier}, which nobody holds any more")


def _closers(state: State) -> frozenset[PeerId]:
    """Who says that the epoch ends so: the closing committee, or all if none of it is left."""
    return get_present(state, state.closing_committee) or _active(state)


def _holders(state: State) -> list[frozenset[PeerId]]:
    """By place in the vector of roots: whose word on it counts."""
    seated = state.holders_among(_closers(state))
    everyone = state.holders_among(_active(state))
    return [some or others for some, others in zip(seated, everyone, strict=True)]


def _active(state: State) -> frozenset[PeerId]:
    return frozenset(member.peer for member in state.active_members)


def _is_final(state: State, signed: Signed) -> bool:
    """Whether this is the final attestation of its sender, whatever parameters it reached."""
    roots = signed.message.param_roots
    is_whole = len(roots) == state.root_count_of(signed.sender)
    return is_whole and bool(signed.message == final_attestation(state, roots))


def _require_quorum(signers: frozenset[PeerId], voters: frozenset[PeerId], what: str) -> None:
    count, needed = len(signers & voters), compute_quorum(len(voters))
    if count < needed:
        raise Rejected(f"{count} of {needed} {what}")
