"""What ties blocks together: their hash, and the seed that each one draws from the last.

The seed of a height is blake3 over the seed before it and the proposer's signature of that, so no
clock goes into it, and nobody knows it before the proposer speaks.
"""

from __future__ import annotations

from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import BlobHash, BlockHash, Height, RunId, Signature
from psyche_p2p.wire.codec import encode
from psyche_p2p.wire.messages import Block

SEED_CONTEXT = "seed"


def block_hash(block: Block) -> BlockHash:
    """What votes name a block by, and its successor points back to."""
    return BlockHash(hash_parts("block", encode(block)))


def seed_message(run_id: RunId, height: Height, previous_seed: BlobHash) -> bytes:
    """What the proposer of the block at `height` signs in the context "seed"."""
    return run_id + height.to_bytes(8, "little") + previous_seed


def next_seed(previous_seed: BlobHash, signature: Signature) -> BlobHash:
    """The seed of the block that carries this signature."""
    return BlobHash(hash_parts("seed", previous_seed, signature))
