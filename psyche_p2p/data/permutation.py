"""A seeded permutation of any number of indices that needs no memory.

A Feistel network over the next even number of bits, walked until it lands below the size (cycle
walking; Black and Rogaway, "Ciphers with Arbitrary Finite Domains"). Round functions are BLAKE3
under the seed, so every machine and language gets the same order.
"""

from __future__ import annotations

from psyche_p2p.hashing import hash_parts

_ROUNDS = 6


class Permutation:
    """A bijection of `range(size)` chosen by a seed and a label."""

    __slots__ = ("_half_bits", "_key", "_mask", "size")

    def __init__(self, size: int, seed: int, label: str) -> None:
        if size < 1:
            raise ValueError(f"a permutation needs at least one index, not {size}")
        self.size = size
        self._half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half_bits) - 1
        self._key = hash_parts("permutation key", str(seed).encode(), label.encode())

    def __getitem__(self, index: int) -> int:
        """Where `index` goes. The domain is at most four times the size: few steps on average."""
        if not 0 <= index < self.size:
            raise IndexError(f"index {index} is not below {self.size}")
        value = self._encipher(index)
        while value >= self.size:
            value = self._encipher(value)
        return value

    def _encipher(self, value: int) -> int:
        left, right = value >> self._half_bits, value & self._mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (self._mix(turn, right) & self._mask)
        return (left << self._half_bits) | right

    def _mix(self, turn: int, value: int) -> int:
        digest = hash_parts(
            "permutation round", self._key, bytes([turn]), value.to_bytes(8, "little")
        )
        return int.from_bytes(digest[:8], "little")
