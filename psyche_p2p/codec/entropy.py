"""The bits that no code can do without, for coefficients spread evenly over their chunks."""

from __future__ import annotations

import math

import numpy as np

from psyche_p2p.codec.coefficients import Coefficients, GroupCoefficients, Payload
from psyche_p2p.codec.grid import ChunkGrid, ChunkGroup

_PAYLOAD_BITS = {Payload.SIGNS: 1, Payload.SCALED_SIGNS: 1, Payload.VALUES: 32}


def compute_bound_bits(grid: ChunkGrid, coefficients: Coefficients) -> float:
    """log2 of the choices of live chunks and of positions, and the payload.

    Chunks that send fewer than `top_k` coefficients are rare; naming their counts is not included.
    """
    parts = zip(grid.groups, coefficients.groups, strict=True)
    return sum(_group_bits(group, chosen, coefficients.payload) for group, chosen in parts)


def _group_bits(group: ChunkGroup, chosen: GroupCoefficients, payload: Payload) -> float:
    counts, chunks = np.unique(chosen.counts[chosen.live], return_counts=True)
    live = int(np.count_nonzero(chosen.live))
    bits = _log2_choose(group.chunks, live)
    bits += sum(
        int(number) * _log2_choose(group.area, int(count))
        for count, number in zip(counts, chunks, strict=True)
    )
    bits += _PAYLOAD_BITS[payload] * len(chosen.positions)
    return bits + (8 * live if payload is Payload.SCALED_SIGNS else 0)


def _log2_choose(universe: int, size: int) -> float:
    return (
        math.lgamma(universe + 1) - math.lgamma(size + 1) - math.lgamma(universe - size + 1)
    ) / math.log(2)
