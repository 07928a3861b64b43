"""Settling a round: accept, credit, drop who is gone, then open the next one or drain."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from psyche_p2p.coordinator.acceptance import Judgement, judge
from psyche_p2p.coordinator.epochs import enter_cooldown
from psyche_p2p.coordinator.ledger import (
    POINTS_PER_ATTESTED_BATCH,
    contribution_points,
    credit,
)
from psyche_p2p.coordinator.membership import eject, with_members
from psyche_p2p.coordinator.opening import open_rounds, require_next_learning_rate
from psyche_p2p.coordinator.require import is_last_voter, require_epoch, require_phase
from psyche_p2p.coordinator.signed import Verify
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import PeerId
from psyche_p2p.wire.commands import CloseRound
from psyche_p2p.wire.messages import AttestedBlob, Phase
from psyche_p2p.wire.records import ClosedRound, Member, MemberStatus, OpenRound

WITNESS_PATIENCE = 4  # a silent witness is dropped after this many times max_missed_rounds
MAX_CLOSED_ROUNDS = 4
_GRACE = 2  # stragglers are waited for this many times the usual duration of a round


def apply_close_round(state: State, command: CloseRound, verify: Verify) -> State:
    """Settle the oldest open round (docs/protocol.md, "Closing a round")."""
    require_phase(state, Phase.TRAIN)
    require_epoch(state, command.epoch)
    opened = require_head(state, command)
    require_next_learning_rate(state, command.learning_rate_bits)
    judgement = judge(state, opened, command, verify)
    reason = why_not_yet(state, opened, judgement, state.time_ms)
    if reason:
        raise Rejected(reason)
    credited = _credit(state, opened, judgement)
    present = _drop_missing(_note_presence(credited, opened, judgement))
    settled = _settle(_eject_equivocators(present, judgement), opened, judgement)
    return _continue(settled, command)


def require_head(state: State, command: CloseRound) -> OpenRound:
    head = state.head_round
    if head is None or head.round != command.round:
        expected = head.round if head else "none"
        raise Rejected(f"round {command.round} cannot be closed, {expected} is next")
    return head


def why_not_yet(state: State, opened: OpenRound, judgement: Judgement, now_ms: int) -> str | None:
    """Why a round may not be closed with this judgement at this time; None if it may.

    It may at once when everything that can be expected has come: every batch of the trainers that
    were heard of in the last round, or of all if most were not. With half of all it may when the
    rest has had its time; at its deadline it may in any case. Students of a teacher whose targets
    are refused cannot train, and are not expected.
    """
    accepted = judgement.accepted
    elapsed_ms = now_ms - state.head_since_ms
    if elapsed_ms >= state.rules.max_round_ms:
        return None
    members = {member.peer: member for member in state.active_members}
    possible = [
        index
        for index, slot in enumerate(opened.slots)
        if slot.trainer in members and index not in judgement.excused
    ]
    heard = [index for index in possible if members[opened.slots[index].trainer].silent_rounds == 0]
    expected = heard if 2 * len(heard) >= len(possible) else possible
    arrived = sum(index in accepted for index in possible)
    if 2 * arrived < len(possible):
        return f"{arrived} of {len(possible)} batches have come, and the deadline has not"
    if all(index in accepted for index in expected):
        return None
    if elapsed_ms >= grace_ms(state):
        return None
    return "batches that can be expected have not come yet"


def grace_ms(state: State) -> int:
    """How old a round gets before half of its batches are enough."""
    usual = _GRACE * state.usual_round_ms
    return min(usual, state.rules.max_round_ms) if usual else state.rules.max_round_ms


def linger_ms(state: State) -> int:
    """How old a round gets before its proposer stops waiting for the slowest witness."""
    return min(state.usual_round_ms + state.usual_round_ms // 4, state.rules.max_round_ms)


def due_times_ms(state: State) -> tuple[int, ...]:
    """When the head round may become due by the passing of time alone."""
    waits = {grace_ms(state), state.rules.max_round_ms}
    if state.usual_round_ms:
        waits.add(linger_ms(state))
    return tuple(state.head_since_ms + wait for wait in sorted(waits))


def _credit(state: State, opened: OpenRound, judgement: Judgement) -> State:
    earned: Counter[PeerId] = Counter()
    for slot_index in judgement.accepted:
        slot = opened.slots[slot_index]
        earned[slot.trainer] += contribution_points(state.rules, slot.batch.size, slot.tier)
    for witness, count in judgement.attested.items():
        earned[witness] += count * POINTS_PER_ATTESTED_BATCH
    return credit(state, earned)


def _note_presence(state: State, opened: OpenRound, judgement: Judgement) -> State:
    """Count misses and silences, and measure speed."""
    had_time = state.time_ms - state.head_since_ms >= grace_ms(state)
    updated = {
        member.peer: _after_round(member, opened, judgement, had_time=had_time)
        for member in state.active_members
    }
    return with_members(state, updated)


def _after_round(
    member: Member, opened: OpenRound, judgement: Judgement, *, had_time: bool
) -> Member:
    """A member after a round. Who was heard of misses it only if it had its time.

    A teacher whose targets were refused has missed it, whatever else it did.
    """
    mine = [i for i, slot in enumerate(opened.slots) if slot.trainer == member.peer]
    delivered = [judgement.accepted[i] for i in mine if i in judgement.accepted]
    slots = [i for i in mine if i not in judgement.excused]
    is_heard = bool(delivered) or member.peer in judgement.attested
    missed = member.missed_rounds
    if delivered:
        speed = delivered[0].tokens_per_s or member.tokens_per_s
        member = replace(member, missed_rounds=0, tokens_per_s=speed)
    elif slots and (had_time or not is_heard):
        member = replace(member, missed_rounds=missed + 1)
    if member.peer in judgement.refused:
        member = replace(member, missed_rounds=missed + 1)
    if is_heard:
        return replace(member, silent_rounds=0, is_late=False)
    if slots or member.peer in opened.committee:
        return replace(member, silent_rounds=member.silent_rounds + 1)
    return member


def _drop_missing(state: State) -> State:
    """Drop the members that are gone, but not everyone: a log needs a voter.

    Nor the last who hold the largest model, or a storm of two rounds could cost the run its
    parameters: the end of the epoch waits for them, or for their word that they leave.
    """
    most = state.rules.max_missed_rounds
    gone = {
        member.peer: replace(member, status=MemberStatus.DROPPED)
        for member in state.active_members
        if member.missed_rounds >= most or member.silent_rounds >= WITNESS_PATIENCE * most
    }
    if len(gone) == len(state.active_members) and not state.rules.authorities:
        return state
    keepers = {one.peer for one in state.active_members if state.is_keeper(one.join)}
    if keepers <= gone.keys():
        gone = {peer: member for peer, member in gone.items() if peer not in keepers}
    return with_members(state, gone)


def _eject_equivocators(state: State, judgement: Judgement) -> State:
    """Eject those who are still there to be ejected."""
    for peer in judgement.equivocators:
        account = state.find_account(peer)
        if account is not None and not account.is_banned and not is_last_voter(state, peer):
            state = eject(state, peer)
    return state


def _settle(state: State, opened: OpenRound, judgement: Judgement) -> State:
    """Close the head round and note what is known of the parameters and of the pace."""
    closed = (*state.closed_rounds, _closed_round(opened, judgement))
    param_round, param_roots = state.param_round, state.param_roots
    if judgement.param_roots is not None and judgement.param_roots[0] > param_round:
        param_round, param_roots = judgement.param_roots
    return replace(
        state,
        open_rounds=state.open_rounds[1:],
        closed_rounds=closed[-MAX_CLOSED_ROUNDS:],
        param_round=param_round,
        param_roots=param_roots,
        usual_round_ms=_usual(state, opened, judgement),
        head_since_ms=state.time_ms,
    )


def _closed_round(opened: OpenRound, judgement: Judgement) -> ClosedRound:
    slots, accepted = opened.slots, judgement.accepted
    blobs = tuple(
        AttestedBlob(slots[slot].batch, slots[slot].trainer, accepted[slot].blob_hash)
        for slot in sorted(accepted)
    )
    return ClosedRound(opened.round, opened.learning_rate_bits, blobs, opened.jury)


def _usual(state: State, opened: OpenRound, judgement: Judgement) -> int:
    """The usual duration of a round, learned from those that were complete.

    A round that used up its grace may mean that everything has become slower: the next grace is a
    quarter longer than this round, or the slower half would be dropped without ever having had
    time. A trainer that comes and goes can stretch it to four times what is usual, not further.
    """
    usual, took_ms = state.usual_round_ms, max(1, state.time_ms - state.head_since_ms)
    if len(judgement.accepted) == len(opened.slots):
        return (3 * usual + took_ms) // 4 if usual else took_ms
    return 5 * took_ms // 8 if usual and took_ms >= _GRACE * usual else usual


def _continue(state: State, command: CloseRound) -> State:
    """Open the next round, or settle those still open and cool down: none is ever dropped."""
    ending = replace(state, is_ending=state.is_ending or _must_end(state))
    if not ending.is_ending and command.learning_rate_bits is not None:
        return open_rounds(ending, (command.learning_rate_bits,))
    return ending if ending.open_rounds else enter_cooldown(ending)


def _must_end(state: State) -> bool:
    """Every way an epoch can end but the end of the run, which opens no more rounds."""
    return (
        state.is_pause_pending
        or len(state.active_members) < state.rules.min_members
        or not any(state.is_keeper(one.join) for one in state.active_members)
        or state.time_ms - state.epoch_since_ms >= state.rules.epoch_ms
    )
