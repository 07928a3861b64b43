"""A binary Merkle tree over digests: one root, and short proofs that a leaf belongs to it.

Inner nodes hash under a context of their own, so that no leaf can pass for a node; a node without a
sibling moves up unchanged; the root also covers the number of leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psyche_p2p.hashing import hash_parts


@dataclass(frozen=True, slots=True)
class MerklePath:
    """Where a leaf stands, and the siblings on its way up, lowest first."""

    index: int
    count: int
    siblings: tuple[bytes, ...]


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over at least one leaf."""
    level = list(leaves)
    while len(level) > 1:
        level = _next_level(level)
    return _root(len(leaves), level[0])


def merkle_path(leaves: Sequence[bytes], index: int) -> MerklePath:
    """The proof that the leaf at `index` is under `merkle_root(leaves)`."""
    level, position, siblings = list(leaves), index, []
    while len(level) > 1:
        sibling = position ^ 1
        if sibling < len(level):
            siblings.append(level[sibling])
        level, position = _next_level(level), position // 2
    return MerklePath(index, len(leaves), tuple(siblings))


def root_of_path(leaf: bytes, path: MerklePath) -> bytes | None:
    """The root that a leaf and its proof lead to; None if the proof has the wrong length."""
    digest, position, width = leaf, path.index, path.count
    if not 0 <= position < width:
        return None
    siblings = iter(path.siblings)
    while width > 1:
        if position ^ 1 < width:
            sibling = next(siblings, None)
            if sibling is None:
                return None
            digest = _node(sibling, digest) if position & 1 else _node(digest, sibling)
        position, width = position // 2, (width + 1) // 2
    return None if next(siblings, None) is not None else _root(path.count, digest)


def _next_level(level: list[bytes]) -> list[bytes]:
    pairs = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + level[len(level) - len(level) % 2 :]


def _node(left: bytes, right: bytes) -> bytes:
    return hash_parts("merkle node", left, right)


def _root(count: int, top: bytes) -> bytes:
    return hash_parts("merkle root", count.to_bytes(8, "little"), top)
