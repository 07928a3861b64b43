"""The hash of a block, remembered: a block is named in every vote on it."""

from __future__ import annotations

from functools import lru_cache

from psyche_p2p.coordinator import block_hash

compute_block_hash = lru_cache(maxsize=64)(block_hash)  # it keeps the blocks, large ones too
