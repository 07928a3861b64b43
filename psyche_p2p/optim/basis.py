"""The constant integer cosine basis: the same numbers on every machine, read and never computed.

Row k of the basis of size n is round(2**12 * D[k]) with D the orthonormal DCT-II (N. Ahmed, T.
Natarajan, K. Rao, "Discrete cosine transform", 1974). `basis.json` holds the n + 2 different
magnitudes of every size up to 64; the rest is symmetry. A library's cosine may differ in the last
bit from another's, and one different entry would be another parameter somewhere.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.errors import StorageError
from psyche_p2p.hashing import hash_parts

LARGEST_SIZE = 64
BASIS_HASH = bytes.fromhex("22bacbfc22ac09233bebe3b5b9a49b1275c8a9cf49c899dd777b3d75035737c0")


@cache
def load_bases() -> dict[int, NDArray[np.int32]]:
    """The basis of every size, `[frequency, position]`, checked against the protocol's hash."""
    text = files("psyche_p2p.optim").joinpath("basis.json").read_text()
    sizes = json.loads(text)["sizes"]
    bases = {int(size): _expand(int(size), row) for size, row in sizes.items()}
    found = hash_parts("basis", *(bases[size].astype("<i2").tobytes() for size in sorted(bases)))
    if found != BASIS_HASH:
        raise StorageError("the basis table is damaged", "install psyche-p2p again")
    for basis in bases.values():
        basis.flags.writeable = False
    return bases


def load_basis(size: int) -> NDArray[np.int32]:
    """The basis of one size."""
    return load_bases()[size]


def _expand(size: int, row: list[int]) -> NDArray[np.int32]:
    """Fold every angle (2i + 1) k pi / 2n into the first quarter turn."""
    constant, magnitudes = row[0], np.array(row[1:], np.int32)
    turns = np.outer(np.arange(size), 2 * np.arange(size) + 1) % (4 * size)
    half = np.minimum(turns, 4 * size - turns)
    folded = np.minimum(half, 2 * size - half)
    basis = np.where(half <= size, magnitudes[folded], -magnitudes[folded]).astype(np.int32)
    basis[0] = constant
    return np.asarray(basis, np.int32)
