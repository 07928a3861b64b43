"""The commitment that a contribution in a block stands for, written down again."""

from __future__ import annotations

from psyche_p2p.ids import EpochIndex, Signature
from psyche_p2p.wire.commands import Contribution
from psyche_p2p.wire.messages import Commitment
from psyche_p2p.wire.records import OpenRound


def commitment_of(epoch: EpochIndex, opened: OpenRound, contribution: Contribution) -> Commitment:
    """What a slot's trainer, or its teacher, committed to for the slot's batch."""
    return Commitment(
        epoch=epoch,
        round=opened.round,
        batch=opened.slots[contribution.slot].batch,
        blob_hash=contribution.blob_hash,
        size_bytes=contribution.size_bytes,
        payload_hash=contribution.payload_hash,
        tokens_per_s=contribution.tokens_per_s,
    )


def contribution_of(slot: int, commitment: Commitment, signature: Signature) -> Contribution:
    """The other way."""
    return Contribution(
        slot,
        commitment.blob_hash,
        commitment.size_bytes,
        commitment.payload_hash,
        commitment.tokens_per_s,
        signature,
    )
