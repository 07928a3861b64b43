"""Coming and going: joins, withdrawals, and ejection for proven misconduct."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from psyche_p2p.coordinator.admission import require_admissible, require_invited
from psyche_p2p.coordinator.ledger import forfeit, note_nonce
from psyche_p2p.coordinator.require import (
    require_account,
    require_epoch,
    require_other_voter,
    require_phase,
)
from psyche_p2p.coordinator.signed import Verify, require_signed
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import PeerId, short_id
from psyche_p2p.wire.commands import Admit, Release
from psyche_p2p.wire.messages import Phase
from psyche_p2p.wire.records import Applicant, Member, MemberStatus

MAX_APPLICANTS = 512
_LIVING = tuple(phase for phase in Phase if phase is not Phase.FINISHED)


def apply_admit(state: State, command: Admit, verify: Verify) -> State:
    """Put a peer, or its newer join, among those who will be in the next epoch."""
    require_phase(state, *_LIVING)
    account = state.find_account(command.peer)
    if account is not None:
        require_account(state, command.peer)
        if command.join.nonce <= account.nonce:
            raise Rejected(f"a join of {short_id(command.peer)} that is not newer than its last")
    require_admissible(state.rules, state.schema_hash, command, verify)
    applicants = with_applicants(state.applicants, (Applicant(command.peer, command.join),))
    if len(applicants) > MAX_APPLICANTS:
        raise Rejected(f"{MAX_APPLICANTS} peers are waiting already")
    noted = note_nonce(state, command.peer, command.join.nonce)
    return replace(noted, applicants=applicants)


def require_welcome(state: State, peer: PeerId) -> None:
    """Rejected, with the reason, if no join of this peer can ever be accepted."""
    require_invited(state.rules, peer)
    if state.find_account(peer) is not None:
        require_account(state, peer)


def apply_release(state: State, command: Release, verify: Verify) -> State:
    """Let a peer go that asked to."""
    require_phase(state, *_LIVING)
    require_epoch(state, command.withdraw.epoch)
    member = state.find_member(command.peer)
    is_active = member is not None and member.status is MemberStatus.ACTIVE
    if not is_active and not _is_waiting(state, command.peer):
        raise Rejected(f"{short_id(command.peer)} does not take part")
    if is_active:
        require_other_voter(state, command.peer)
    if command.withdraw.nonce <= require_account(state, command.peer).nonce:
        raise Rejected(f"{short_id(command.peer)} has asked to join since")
    require_signed(verify, state.run_id, command.peer, command.withdraw, command.signature)
    noted = note_nonce(state, command.peer, command.withdraw.nonce)
    return _remove(noted, command.peer, MemberStatus.WITHDRAWN)


def eject(state: State, peer: PeerId) -> State:
    """Ban a peer for good; what it earned in this epoch is forfeited."""
    account = require_account(state, peer)
    require_other_voter(state, peer)
    return forfeit(_remove(state, peer, MemberStatus.EJECTED), account)


def with_applicants(
    applicants: tuple[Applicant, ...], more: tuple[Applicant, ...]
) -> tuple[Applicant, ...]:
    """Both, by rising public key; of two joins of one peer the newer."""
    newest: dict[PeerId, Applicant] = {}
    for one in (*applicants, *more):
        known = newest.get(one.peer)
        if known is None or one.join.nonce >= known.join.nonce:
            newest[one.peer] = one
    return tuple(newest[peer] for peer in sorted(newest))


def with_members(state: State, updated: Mapping[PeerId, Member]) -> State:
    members = tuple(updated.get(member.peer, member) for member in state.members)
    return replace(state, members=members)


def _is_waiting(state: State, peer: PeerId) -> bool:
    return any(one.peer == peer for one in (*state.applicants, *state.entrants))


def _remove(state: State, peer: PeerId, status: MemberStatus) -> State:
    member = state.find_member(peer)
    left = with_members(state, {peer: replace(member, status=status)}) if member else state
    return replace(
        left,
        applicants=tuple(one for one in state.applicants if one.peer != peer),
        entrants=tuple(one for one in state.entrants if one.peer != peer),
    )
