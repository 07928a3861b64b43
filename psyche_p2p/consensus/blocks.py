"""The hash of a block: what votes name, and what the next block points back to."""

from __future__ import annotations

from functools import lru_cache

from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import BlockHash
from psyche_p2p.wire import Block, encode


@lru_cache(maxsize=512)
def compute_block_hash(block: Block) -> BlockHash:
    """The hash of the block's canonical bytes."""
    return BlockHash(hash_parts("block", encode(block)))
