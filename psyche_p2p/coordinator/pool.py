"""What a peer has heard that may go into the next block, and the CloseRound it makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from psyche_p2p.coordinator.acceptance import encode_held
from psyche_p2p.coordinator.commands import AnyCommand
from psyche_p2p.coordinator.committee import get_present
from psyche_p2p.coordinator.opening import learning_rates, rounds_left
from psyche_p2p.coordinator.promised import contribution_of
from psyche_p2p.coordinator.refusals import MAX_REFUSED, find_refused
from psyche_p2p.coordinator.signed import Signed
from psyche_p2p.coordinator.state import State
from psyche_p2p.ids import BatchInterval, PeerId
from psyche_p2p.wire.commands import CloseRound, Contribution, Witnessing
from psyche_p2p.wire.messages import Attestation, AttestedBlob, Commitment
from psyche_p2p.wire.records import OpenRound

MAX_CONTRIBUTIONS = 264  # what fits a block, with the largest committee's attestations
REFUSED_AS_CONTRIBUTIONS = 11  # room that a refusal takes with the largest committee's signatures

_Key: TypeAlias = tuple[int, bytes]  # slot, blob hash
_Slots: TypeAlias = dict[tuple[BatchInterval, PeerId], int]


@dataclass(frozen=True, slots=True)
class Pool:
    """Signed statements, in any order, from envelopes whose signatures have been checked."""

    joins: tuple[Signed, ...] = ()
    withdrawals: tuple[Signed, ...] = ()
    orders: tuple[Signed, ...] = ()
    warm: tuple[Signed, ...] = ()
    commitments: tuple[Signed, ...] = ()
    attestations: tuple[Signed, ...] = ()
    verdicts: tuple[Signed, ...] = ()
    refusals: tuple[Signed, ...] = ()
    evidence: tuple[AnyCommand, ...] = ()


def order_blobs(blobs: Iterable[AttestedBlob]) -> tuple[AttestedBlob, ...]:
    """Blobs in the order in which an attestation must name them to be counted."""
    return tuple(sorted(blobs, key=lambda blob: (blob.batch, blob.blob_hash)))


def make_close_round(state: State, opened: OpenRound, pool: Pool) -> CloseRound:
    """The CloseRound that says everything this pool knows about a round."""
    slots = {(slot.batch, slot.trainer): index for index, slot in enumerate(opened.slots)}
    known = _contributions(state, opened, slots, pool.commitments)
    attested = _attestations(state, opened, slots, pool.attestations, known)
    kept = _select(known, (keys for _, keys in attested.values()))
    order = sorted(kept)
    index_of = {key: index for index, key in enumerate(order)}
    return CloseRound(
        epoch=state.epoch,
        round=opened.round,
        contributions=tuple(kept[key] for key in order),
        witnessings=tuple(
            _witnessing(witness, signed, [index_of[key] for key in keys], len(order))
            for witness, (signed, keys) in sorted(attested.items())
            if all(key in index_of for key in keys)
        ),
        learning_rate_bits=next(iter(learning_rates(state, min(1, rounds_left(state)))), None),
        refused=find_refused(
            state, opened, pool.commitments, pool.refusals, _room_for_refused(len(order))
        ),
    )


def _contributions(
    state: State, opened: OpenRound, slots: _Slots, commitments: Sequence[Signed]
) -> dict[_Key, Contribution]:
    """The commitments that belong to a slot of the round."""
    known: dict[_Key, Contribution] = {}
    for signed in commitments:
        one: Commitment = signed.message
        slot = slots.get((one.batch, signed.sender))
        is_ours = (one.epoch, one.round) == (state.epoch, opened.round)
        if slot is None or not is_ours or not 0 < one.size_bytes <= state.rules.max_blob_bytes:
            continue
        contribution = contribution_of(slot, one, signed.signature)
        known.setdefault((slot, one.blob_hash), contribution)
    return known


def _attestations(
    state: State,
    opened: OpenRound,
    slots: _Slots,
    attestations: Sequence[Signed],
    known: dict[_Key, Contribution],
) -> dict[int, tuple[Signed, list[_Key]]]:
    """By committee index: each witness's fullest attestation that a block can express."""
    present = get_present(state, opened.committee)
    index_of = {peer: index for index, peer in enumerate(opened.committee) if peer in present}
    best: dict[int, tuple[Signed, list[_Key]]] = {}
    for signed in attestations:
        one: Attestation = signed.message
        witness = index_of.get(signed.sender)
        is_ours = (one.epoch, one.round) == (state.epoch, opened.round)
        if witness is None or not is_ours or one.param_round > state.closed_count:
            continue
        if len(one.param_roots) != state.root_count_of(signed.sender):
            continue
        keys = _keys(slots, one)
        is_rising = all(first < second for first, second in pairwise(keys))
        if not is_rising or any(key not in known for key in keys):
            continue
        if witness not in best or len(keys) > len(best[witness][1]):
            best[witness] = (signed, keys)
    return best


def _keys(slots: _Slots, attestation: Attestation) -> list[_Key]:
    """What an attestation holds; a batch that the round has not gets a slot that no one knows."""
    return [
        (slots.get((blob.batch, blob.trainer), len(slots)), blob.blob_hash)
        for blob in attestation.blobs
    ]


def _select(
    known: dict[_Key, Contribution], attested: Iterable[list[_Key]]
) -> dict[_Key, Contribution]:
    """The contributions with the most support, as many as a block holds."""
    support = Counter(key for keys in attested for key in keys)
    ranked = sorted(known, key=lambda key: (-support[key], key))
    return {key: known[key] for key in ranked[:MAX_CONTRIBUTIONS]}


def _room_for_refused(contributions: int) -> int:
    return min(MAX_REFUSED, (MAX_CONTRIBUTIONS - contributions) // REFUSED_AS_CONTRIBUTIONS)


def _witnessing(witness: int, signed: Signed, held: Sequence[int], count: int) -> Witnessing:
    one: Attestation = signed.message
    bits = encode_held(held, count)
    return Witnessing(witness, bits, one.param_round, one.param_roots, signed.signature)
