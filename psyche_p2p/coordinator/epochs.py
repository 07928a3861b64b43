"""The life of an epoch: who enters, when training begins, how it ends, pausing and resuming."""

from __future__ import annotations

from dataclasses import replace

from psyche_p2p.coordinator.closing import require_final_roots
from psyche_p2p.coordinator.committee import select_committee
from psyche_p2p.coordinator.ledger import settle
from psyche_p2p.coordinator.membership import with_applicants
from psyche_p2p.coordinator.opening import open_rounds, require_learning_rates
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.coordinator.rendezvous import score
from psyche_p2p.coordinator.require import (
    require_elapsed,
    require_epoch,
    require_phase,
    require_rising,
)
from psyche_p2p.coordinator.signed import Verify, require_signed
from psyche_p2p.coordinator.state import State, new_member
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import EpochIndex, short_id
from psyche_p2p.wire.commands import (
    BeginTraining,
    CloseEpoch,
    Obey,
    OpenEpoch,
)
from psyche_p2p.wire.messages import OwnerAction, Phase, Warm
from psyche_p2p.wire.records import Applicant, Member


def apply_open_epoch(state: State, command: OpenEpoch, _verify: Verify) -> State:
    """WAITING_FOR_MEMBERS -> WARMUP: applicants become entrants, up to the run's limit."""
    require_phase(state, Phase.WAITING_FOR_MEMBERS)
    require_epoch(state, command.epoch)
    if state.enough_since_ms is None:
        enough = state.rules.init_min_members
        ready = len(state.applicants)
        tier = state.largest_known_tier
        raise Rejected(
            f"{ready} peers are ready, {enough} with a trainer are needed that holds tier {tier}",
            "a member must hold all of the model that is still known",
        )
    require_elapsed(
        state, state.enough_since_ms, state.rules.waiting_extra_ms, "more members may come"
    )
    entrants = _select_entrants(state)
    chosen = {one.peer for one in entrants}
    return replace(
        state,
        phase=Phase.WARMUP,
        phase_since_ms=state.time_ms,
        entrants=entrants,
        applicants=tuple(one for one in state.applicants if one.peer not in chosen),
    )


def apply_begin_training(state: State, command: BeginTraining, verify: Verify) -> State:
    """WARMUP -> TRAIN with the entrants that are warm, or back to waiting with too few of them."""
    require_phase(state, Phase.WARMUP)
    require_epoch(state, command.epoch)
    warm = _require_warm(state, command, verify)
    require_learning_rates(state, command.learning_rate_bits)
    if len(warm) < len(state.entrants):
        waiting = f"{len(state.entrants) - len(warm)} of {len(state.entrants)} are not warm"
        require_elapsed(state, state.phase_since_ms, state.rules.warmup_ms, waiting)
    members = _members_of(state, warm)
    if not _is_enough(state, members):
        return _abandon_epoch(state, warm)
    begun = replace(
        state,
        phase=Phase.TRAIN,
        phase_since_ms=state.time_ms,
        epoch_since_ms=state.time_ms,
        head_since_ms=state.time_ms,
        members=members,
        entrants=(),
    )
    return open_rounds(begun, command.learning_rate_bits)


def enter_cooldown(state: State) -> State:
    """TRAIN -> COOLDOWN, once the last open round is settled."""
    return replace(
        state,
        phase=Phase.COOLDOWN,
        phase_since_ms=state.time_ms,
        closing_committee=select_committee(state.rules, state.active_members, state.seed),
    )


def apply_close_epoch(state: State, command: CloseEpoch, verify: Verify) -> State:
    """COOLDOWN -> waiting, paused or finished, with the parameters that quorums reached."""
    require_phase(state, Phase.COOLDOWN)
    require_epoch(state, command.epoch)
    require_elapsed(state, state.phase_since_ms, state.rules.cooldown_ms, "members may still save")
    require_final_roots(state, command, verify)
    stay = tuple(Applicant(one.peer, one.join) for one in state.active_members)
    settled = settle(state)
    return replace(
        settled,
        phase=_phase_after_epoch(state),
        phase_since_ms=state.time_ms,
        epoch=EpochIndex(state.epoch + 1),
        is_ending=False,
        is_pause_pending=False,
        applicants=with_applicants(state.applicants, stay),
        param_round=state.closed_count,
        param_roots=command.param_roots,
        closing_committee=(),
    )


def apply_obey(state: State, command: Obey, verify: Verify) -> State:
    """Pause or resume, if the run's owner says so and has not said it before."""
    owner = state.rules.owner
    if owner is None:
        raise Rejected("this run has no owner (run.owner)")
    if command.order.nonce <= state.owner_nonce:
        raise Rejected("an order that is not newer than the owner's last")
    require_signed(verify, state.run_id, owner, command.order, command.signature)
    noted = replace(state, owner_nonce=command.order.nonce)
    return _pause(noted) if command.order.action is OwnerAction.PAUSE else _resume(noted)


def warm_statement(state: State) -> Warm:
    """What entrants sign in WARMUP: they hold the parameters that the epoch begins with."""
    return Warm(state.epoch, state.param_round, state.param_root)


def _select_entrants(state: State) -> tuple[Applicant, ...]:
    """Everyone if there is room; else members of the last epoch first, then by rendezvous.

    The first who holds all of the model that is known comes before everybody: one must.
    """
    incumbents = {member.peer for member in state.active_members}
    ranked = sorted(
        state.applicants,
        key=lambda one: (one.peer not in incumbents, score(state.seed, "entrant", one.peer)),
    )
    keeper = next(one for one in ranked if state.is_keeper(one.join))
    ranked.sort(key=lambda one: one is not keeper)
    return with_applicants((), tuple(ranked[: state.rules.max_members]))


def _require_warm(state: State, command: BeginTraining, verify: Verify) -> tuple[Applicant, ...]:
    entrants = {one.peer: one for one in state.entrants}
    peers = [one.peer for one in command.warm]
    require_rising(peers, "warm peers")
    for one in command.warm:
        if one.peer not in entrants:
            raise Rejected(f"{short_id(one.peer)} is not entering this epoch")
        require_signed(verify, state.run_id, one.peer, warm_statement(state), one.signature)
    return tuple(entrants[peer] for peer in peers)


def _members_of(state: State, warm: tuple[Applicant, ...]) -> tuple[Member, ...]:
    """New members, with the speed that was measured where one was."""
    known = {member.peer: member.tokens_per_s for member in state.members}
    fresh = (new_member(one.peer, one.join) for one in warm)
    return tuple(
        replace(member, tokens_per_s=known.get(member.peer, member.tokens_per_s))
        for member in fresh
    )


def _is_enough(state: State, members: tuple[Member, ...]) -> bool:
    """Whether these may take the log over: enough, a keeper, and a quorum of today's voters.

    Without the last rule a proposer that leaves out what others said could begin alone.
    """
    entering = {one.peer for one in state.entrants}
    incumbents = entering.intersection(one.peer for one in state.active_members)
    staying = incumbents.intersection(one.peer for one in members)
    return (
        len(members) >= state.rules.min_members
        and any(state.is_keeper(one.join) for one in members)
        and (not incumbents or len(staying) >= compute_quorum(len(incumbents)))
    )


def _abandon_epoch(state: State, warm: tuple[Applicant, ...]) -> State:
    """WARMUP -> WAITING_FOR_MEMBERS: newcomers who were not warm must ask again."""
    voters = {one.peer for one in state.active_members}
    staying = tuple(one for one in state.entrants if one.peer in voters)
    return replace(
        state,
        phase=Phase.WAITING_FOR_MEMBERS,
        phase_since_ms=state.time_ms,
        entrants=(),
        applicants=with_applicants(state.applicants, (*warm, *staying)),
    )


def _phase_after_epoch(state: State) -> Phase:
    if state.next_round >= state.rules.total_rounds:
        return Phase.FINISHED
    return Phase.PAUSED if state.is_pause_pending else Phase.WAITING_FOR_MEMBERS


def _pause(state: State) -> State:
    match state.phase:
        case Phase.WAITING_FOR_MEMBERS | Phase.WARMUP:
            return replace(
                state,
                phase=Phase.PAUSED,
                phase_since_ms=state.time_ms,
                entrants=(),
                applicants=with_applicants(state.applicants, state.entrants),
            )
        case Phase.TRAIN | Phase.COOLDOWN if not state.is_pause_pending:
            return replace(state, is_pause_pending=True)
        case _:
            raise Rejected("the run is finished, paused, or about to be paused")


def _resume(state: State) -> State:
    if state.is_pause_pending:
        return replace(state, is_pause_pending=False)
    require_phase(state, Phase.PAUSED)
    return replace(
        state,
        phase=Phase.WAITING_FOR_MEMBERS,
        phase_since_ms=state.time_ms,
        cold_since_round=state.next_round,
    )
