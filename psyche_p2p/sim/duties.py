"""What the protocol asks of an honest peer in a state, with training itself replaced by waiting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from psyche_p2p.coordinator import Signed, State, final_attestation, order_blobs
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, ParamRoot, PeerId, RoundIndex, SchemaHash, Tier
from psyche_p2p.wire import Attestation, AttestedBlob, Capabilities, Commitment, Join, Role
from psyche_p2p.wire.records import OpenRound, Slot

BLOB_BYTES = 50_000
TOKENS_PER_S = 1000
SCHEMA = SchemaHash(hash_bytes(b"simulated schema"))
MAX_TIER = Tier(2)


def stub_param_roots(rounds: int, count: int = MAX_TIER + 1) -> tuple[ParamRoot, ...]:
    """The parameters that every honest peer reaches after so many rounds, as far as it holds them.

    `count` is that of the places in the vector of roots, from the smallest tier outwards.
    """
    return tuple(
        ParamRoot(hash_bytes(b"parameters %d at place %d" % (rounds, place)))
        for place in range(count)
    )


def make_join(nonce: int, tier: int | None) -> Join:
    """A peer asks to take part: to train at a tier and to witness, or without one to witness."""
    return Join(
        roles=(Role.WITNESS,) if tier is None else (Role.TRAINER, Role.WITNESS),
        tier=Tier(tier or 0),
        capabilities=Capabilities(TOKENS_PER_S, 1 << 33, "simulated"),
        addresses=(),
        tls_fingerprint=BlobHash(hash_bytes(b"tls")),
        schema_hash=SCHEMA,
        nonce=nonce,
    )


def list_slots(state: State, peer: PeerId) -> list[tuple[OpenRound, Slot]]:
    """The batches this peer has to train on now."""
    return [
        (opened, slot)
        for opened in state.open_rounds
        for slot in opened.slots
        if slot.trainer == peer
    ]


def make_commitment(state: State, opened: OpenRound, slot: Slot, salt: bytes = b"") -> Commitment:
    """The commitment to the blob that stands for this batch's training."""
    name = b"%d %d %s %s" % (opened.round, slot.batch.start, slot.trainer.encode(), salt)
    return Commitment(
        epoch=state.epoch,
        round=opened.round,
        batch=slot.batch,
        blob_hash=BlobHash(hash_bytes(b"blob " + name)),
        size_bytes=BLOB_BYTES,
        payload_hash=BlobHash(hash_bytes(b"payload " + name)),
        tokens_per_s=TOKENS_PER_S,
    )


def make_targets(state: State, opened: OpenRound, slot: Slot) -> Commitment:
    """The commitment of a slot's teacher to its targets."""
    return replace(make_commitment(state, opened, slot, b"targets"), tokens_per_s=0)


def is_targets(opened: OpenRound, signed: Signed) -> bool:
    """Whether this is what a teacher of a round commits to for one of its students."""
    about = (signed.message.batch, signed.sender)
    return any((slot.batch, slot.teacher) == about for slot in opened.slots)


def make_attestation(
    state: State, peer: PeerId, opened: OpenRound, held: Iterable[Signed]
) -> Attestation:
    """What an honest witness says that holds the blobs of these commitments."""
    blobs = (AttestedBlob(one.message.batch, one.sender, one.message.blob_hash) for one in held)
    reached = state.closed_count
    return Attestation(
        epoch=state.epoch,
        round=opened.round,
        blobs=order_blobs(blobs),
        param_round=RoundIndex(reached),
        param_roots=stub_param_roots(reached, state.root_count_of(peer)),
    )


def make_final_attestation(state: State, peer: PeerId) -> Attestation:
    """What a member says at the end of an epoch."""
    return final_attestation(state, stub_param_roots(state.closed_count, state.root_count_of(peer)))
