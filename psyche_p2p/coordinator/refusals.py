"""Targets that a round's committee refuses: whom that names, and whom it excuses.

A blob is too large for a block, so that its targets are no good cannot be shown there; a quorum of
the committee says so, as it says what it holds. The teacher's signed commitment stands beside their
signatures: nobody is named for a blob it did not vouch for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from psyche_p2p.coordinator.committee import get_present
from psyche_p2p.coordinator.promised import commitment_of, contribution_of
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.coordinator.require import require_rising
from psyche_p2p.coordinator.signed import Signed, Verify, require_signed
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import PeerId, short_id
from psyche_p2p.wire.commands import CloseRound, RefusedTargets, WitnessSignature
from psyche_p2p.wire.messages import Commitment, Refusal
from psyche_p2p.wire.records import OpenRound

MAX_REFUSED = 4
"""Of so many teachers, where a block has the room."""


def require_refused(
    state: State, opened: OpenRound, command: CloseRound, verify: Verify
) -> frozenset[PeerId]:
    """The teachers that a CloseRound names; Rejected unless a quorum signed against each."""
    require_rising([one.targets.slot for one in command.refused], "refused targets")
    teachers = [_teacher_of(opened, one.targets.slot) for one in command.refused]
    if len(set(teachers)) != len(teachers):
        raise Rejected("a teacher is named once a round")
    present = get_present(state, opened.committee)
    for teacher, one in zip(teachers, command.refused, strict=True):
        commitment = commitment_of(command.epoch, opened, one.targets)
        require_signed(verify, state.run_id, teacher, commitment, one.targets.signature)
        refusal = refusal_of(commitment, teacher)
        for witness, signature in _require_quorum(opened, present, one.witnesses).items():
            require_signed(verify, state.run_id, witness, refusal, signature)
    return frozenset(teachers)


def excused_slots(opened: OpenRound, teachers: Collection[PeerId]) -> frozenset[int]:
    """The slots of their students: nobody waits for them, and it is no fault of theirs."""
    return frozenset(index for index, slot in enumerate(opened.slots) if slot.teacher in teachers)


def refusal_of(commitment: Commitment, teacher: PeerId) -> Refusal:
    """What a witness says of targets that are no good."""
    return Refusal(
        commitment.epoch, commitment.round, commitment.batch, teacher, commitment.blob_hash
    )


def find_refused(
    state: State,
    opened: OpenRound,
    commitments: Sequence[Signed],
    refusals: Sequence[Signed],
    most: int = MAX_REFUSED,
) -> tuple[RefusedTargets, ...]:
    """For each teacher of a round whom these statements convict, one proof; at most so many."""
    against = _signatures(state, opened, refusals)
    quorum = compute_quorum(len(get_present(state, opened.committee)))
    found: dict[PeerId, RefusedTargets] = {}
    for slot, signed in _targets_of(state, opened, commitments):
        one: Commitment = signed.message
        signatures = against.get(refusal_of(one, signed.sender), {})
        if len(signatures) < quorum or signed.sender in found or len(found) >= most:
            continue
        witnesses = sorted(signatures)[:quorum]
        found[signed.sender] = RefusedTargets(
            contribution_of(slot, one, signed.signature),
            tuple(
                WitnessSignature(witness, signatures[witness].signature) for witness in witnesses
            ),
        )
    return tuple(sorted(found.values(), key=lambda one: one.targets.slot))


def _teacher_of(opened: OpenRound, slot: int) -> PeerId:
    if slot >= len(opened.slots):
        raise Rejected(f"slot {slot} of {len(opened.slots)} does not exist")
    teacher = opened.slots[slot].teacher
    if teacher is None:
        raise Rejected(f"slot {slot} has no teacher")
    return teacher


def _require_quorum(
    opened: OpenRound, present: frozenset[PeerId], signatures: Sequence[WitnessSignature]
) -> dict[PeerId, bytes]:
    """The signatures by witness; Rejected if one has no say, or they are too few."""
    require_rising([one.witness for one in signatures], "witnesses")
    for one in signatures:
        if one.witness >= len(opened.committee):
            raise Rejected(f"witness {one.witness} of {len(opened.committee)} does not exist")
        if opened.committee[one.witness] not in present:
            raise Rejected(f"{short_id(opened.committee[one.witness])} is no longer a member")
    quorum = compute_quorum(len(present))
    if len(signatures) < quorum:
        raise Rejected(f"{len(signatures)} refusals of {quorum} needed")
    return {opened.committee[one.witness]: one.signature for one in signatures}


def _targets_of(
    state: State, opened: OpenRound, commitments: Sequence[Signed]
) -> list[tuple[int, Signed]]:
    """The commitments of a round's teachers to their targets, by slot, whichever came first."""
    slots = {
        (slot.batch, slot.teacher): index
        for index, slot in enumerate(opened.slots)
        if slot.teacher is not None
    }
    about = (state.epoch, opened.round)
    found = [
        (slots[signed.message.batch, signed.sender], signed)
        for signed in commitments
        if (signed.message.epoch, signed.message.round) == about
        and (signed.message.batch, signed.sender) in slots
    ]
    return sorted(found, key=lambda one: (one[0], one[1].message.blob_hash))


def _signatures(
    state: State, opened: OpenRound, refusals: Sequence[Signed]
) -> dict[Refusal, dict[int, Signed]]:
    """Who of the committee refuses what, by its index there."""
    present = get_present(state, opened.committee)
    index_of = {peer: index for index, peer in enumerate(opened.committee) if peer in present}
    against: dict[Refusal, dict[int, Signed]] = defaultdict(dict)
    for signed in refusals:
        if signed.sender in index_of:
            against[signed.message][index_of[signed.sender]] = signed
    return against
