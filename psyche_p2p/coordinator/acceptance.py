"""Which contributions of a round are accepted: checked first, then judged, changing nothing.

A contribution counts when a quorum of the round's committee holds it. Whoever committed to two for
one batch has none accepted; of two with equal payloads the later slot's is a copy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from psyche_p2p.coordinator.committee import get_present
from psyche_p2p.coordinator.promised import commitment_of
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.coordinator.refusals import excused_slots, require_refused
from psyche_p2p.coordinator.require import require_rising
from psyche_p2p.coordinator.roots import count_known, find_agreed
from psyche_p2p.coordinator.signed import Verify, require_signed
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import EpochIndex, ParamRoot, PeerId, RoundIndex, short_id
from psyche_p2p.wire.commands import CloseRound, Contribution, Witnessing
from psyche_p2p.wire.messages import Attestation, AttestedBlob
from psyche_p2p.wire.records import MemberStatus, OpenRound


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a CloseRound proves."""

    accepted: dict[int, Contribution]
    """By slot."""
    attested: Counter[PeerId]
    """How many accepted contributions each included witness holds."""
    equivocators: tuple[PeerId, ...]
    """Trainers with two commitments to one batch."""
    param_roots: tuple[RoundIndex, tuple[ParamRoot, ...]] | None
    """The newest parameters that at each tier a quorum of those who hold it reached."""
    refused: frozenset[PeerId]
    """Teachers whose targets a quorum refuses."""
    excused: frozenset[int]
    """The slots of their students."""


def judge(state: State, opened: OpenRound, command: CloseRound, verify: Verify) -> Judgement:
    """Check every statement in the command, then count them."""
    _check_contributions(state, opened, command, verify)
    refused = require_refused(state, opened, command, verify)
    present = get_present(state, opened.committee)
    _check_witnessings(state, opened, command, present, verify)
    quorum = compute_quorum(len(present))
    equivocators = _equivocators(opened, command.contributions)
    votes = count_votes(command)
    supported = {
        one.slot: one
        for index, one in enumerate(command.contributions)
        if votes[index] >= quorum
        and _may_be_accepted(state, opened.slots[one.slot].trainer, equivocators)
    }
    accepted = _without_copies(supported)
    return Judgement(
        accepted=accepted,
        attested=_attested(opened, command, accepted),
        equivocators=equivocators,
        param_roots=_agreed_roots(state, opened, command.witnessings, present),
        refused=refused,
        excused=excused_slots(opened, refused),
    )


def attestation_of(
    epoch: EpochIndex,
    opened: OpenRound,
    contributions: Sequence[Contribution],
    witnessing: Witnessing,
) -> Attestation:
    """The attestation that a witnessing stands for."""
    blobs = tuple(
        AttestedBlob(opened.slots[one.slot].batch, opened.slots[one.slot].trainer, one.blob_hash)
        for index, one in enumerate(contributions)
        if is_held(witnessing.held, index)
    )
    return Attestation(epoch, opened.round, blobs, witnessing.param_round, witnessing.param_roots)


def is_held(held: bytes, index: int) -> bool:
    return bool(held[index // 8] >> index % 8 & 1)


def encode_held(indices: Sequence[int], count: int) -> bytes:
    """The bits of a Witnessing: which of `count` contributions are held."""
    held = bytearray((count + 7) // 8)
    for index in indices:
        held[index // 8] |= 1 << index % 8
    return bytes(held)


def count_votes(command: CloseRound) -> Counter[int]:
    """How many witnesses hold each contribution, by its index."""
    count = len(command.contributions)
    return Counter(
        index
        for witnessing in command.witnessings
        for index in range(count)
        if is_held(witnessing.held, index)
    )


def _check_contributions(
    state: State, opened: OpenRound, command: CloseRound, verify: Verify
) -> None:
    order = [(one.slot, one.blob_hash) for one in command.contributions]
    require_rising(order, "contributions")
    for one in command.contributions:
        if one.slot >= len(opened.slots):
            raise Rejected(f"slot {one.slot} of {len(opened.slots)} does not exist")
        if not 0 < one.size_bytes <= state.rules.max_blob_bytes:
            allowed = state.rules.max_blob_bytes
            raise Rejected(f"a contribution of {one.size_bytes} bytes, 1 to {allowed} are allowed")
        commitment = commitment_of(command.epoch, opened, one)
        trainer = opened.slots[one.slot].trainer
        require_signed(verify, state.run_id, trainer, commitment, one.signature)


def _check_witnessings(
    state: State,
    opened: OpenRound,
    command: CloseRound,
    present: frozenset[PeerId],
    verify: Verify,
) -> None:
    count = len(command.contributions)
    require_rising([one.witness for one in command.witnessings], "witnesses")
    for one in command.witnessings:
        if one.witness >= len(opened.committee):
            raise Rejected(f"witness {one.witness} of {len(opened.committee)} does not exist")
        witness = opened.committee[one.witness]
        if witness not in present:
            raise Rejected(f"{short_id(witness)} is no longer a member")
        if len(one.held) != (count + 7) // 8 or int.from_bytes(one.held, "little") >> count:
            raise Rejected(f"{short_id(witness)}'s bits are not those of {count} contributions")
        if one.param_round > state.closed_count:
            raise Rejected(f"{short_id(witness)} applied rounds that are not settled")
        expected = state.root_count_of(witness)
        if len(one.param_roots) != expected:
            given = len(one.param_roots)
            raise Rejected(f"{given} param roots of {short_id(witness)}, its tier has {expected}")
        attestation = attestation_of(command.epoch, opened, command.contributions, one)
        require_signed(verify, state.run_id, witness, attestation, one.signature)


def _equivocators(opened: OpenRound, contributions: Sequence[Contribution]) -> tuple[PeerId, ...]:
    by_slot = Counter(one.slot for one in contributions)
    return tuple(opened.slots[slot].trainer for slot, count in by_slot.items() if count > 1)


def _may_be_accepted(state: State, trainer: PeerId, equivocators: tuple[PeerId, ...]) -> bool:
    member = state.find_member(trainer)
    return (
        member is not None
        and member.status is not MemberStatus.EJECTED
        and trainer not in equivocators
    )


def _without_copies(supported: dict[int, Contribution]) -> dict[int, Contribution]:
    """Slots stand in the round's rendezvous order: the first of equal payloads stays."""
    seen: set[bytes] = set()
    accepted = {}
    for slot in sorted(supported):
        payload = supported[slot].payload_hash
        if payload not in seen:
            seen.add(payload)
            accepted[slot] = supported[slot]
    return accepted


def _attested(
    opened: OpenRound, command: CloseRound, accepted: dict[int, Contribution]
) -> Counter[PeerId]:
    counted = [
        index for index, one in enumerate(command.contributions) if accepted.get(one.slot) is one
    ]
    return Counter(
        {
            opened.committee[one.witness]: sum(is_held(one.held, index) for index in counted)
            for one in command.witnessings
        }
    )


def _agreed_roots(
    state: State,
    opened: OpenRound,
    witnessings: Sequence[Witnessing],
    present: frozenset[PeerId],
) -> tuple[RoundIndex, tuple[ParamRoot, ...]] | None:
    """What the present witnesses agree on, tier by tier, each tier with the quorum of its holders.

    A tier that was known, and that no witness of this round holds, is not settled by this round.
    """
    holders = state.holders_among(present)
    if any(not holders[place] for place in range(count_known(state.param_roots))):
        return None
    reached: dict[RoundIndex, dict[PeerId, tuple[ParamRoot, ...]]] = defaultdict(dict)
    for one in witnessings:
        reached[one.param_round][opened.committee[one.witness]] = one.param_roots
    for param_round in sorted(reached, reverse=True):
        agreed = find_agreed(reached[param_round], holders)
        if agreed is not None:
            return param_round, agreed
    return None
