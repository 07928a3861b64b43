"""The section that says how many coefficients each chunk sends.

Nearly always that is `top_k` for every chunk, and then the section is empty. Otherwise it lists the
dead chunks and the short ones (fewer non-zero coefficients than `top_k`), numbered through all
groups, as two Rice-coded sets: at most the one bit a chunk of a bitmap, and next to nothing when
few chunks are dead, which is the steady state.

    uint32 dead, uint32 short, dead low bits, short low bits, uint16 counts of the short, unary
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.codec.rice import (
    Integers,
    compute_gaps,
    compute_rice_parameter,
    decode_low_bits,
    decode_unary,
    encode_low_bits,
    encode_unary,
    low_bits_bytes,
    restore_values,
)
from psyche_p2p.errors import WireCode, WireError

_PREFIX_BYTES = 8


def encode_counts(counts: Integers, full: Integers) -> bytes:
    """The section for these counts, where `full` is what each chunk would send at most."""
    dead, short = np.flatnonzero(counts == 0), np.flatnonzero((counts > 0) & (counts < full))
    if not len(dead) and not len(short):
        return b""
    sets = [(members, *_gaps(members, len(counts))) for members in (dead, short)]
    prefix = np.array([len(dead), len(short)], "<u4").tobytes()
    low = [encode_low_bits(gaps, parameter) for _, gaps, parameter in sets]
    high = np.concatenate([gaps >> parameter for _, gaps, parameter in sets])
    short_counts = counts[short].astype("<u2").tobytes()
    return b"".join([prefix, *low, short_counts, encode_unary(high)])


def decode_counts(data: memoryview, full: Integers) -> Integers:
    """The inverse, with every way to be wrong refused."""
    counts: Integers = np.array(full)
    if not len(data):
        return counts
    if len(data) < _PREFIX_BYTES:
        raise WireError(WireCode.MALFORMED, "the section of live chunks is cut short")
    dead, short = (int(size) for size in np.frombuffer(data[:_PREFIX_BYTES], "<u4"))
    if not 0 < dead + short <= len(full):
        cause = f"{dead} dead and {short} short chunks of {len(full)}"
        raise WireError(WireCode.OUT_OF_RANGE, cause)
    dead_chunks, short_chunks, short_counts = _decode_sets(data, dead, short, len(full))
    counts[dead_chunks] = 0
    if not (counts[short_chunks] > short_counts).all() or not (short_counts > 0).all():
        raise WireError(WireCode.OUT_OF_RANGE, "a short chunk's count is not below its maximum")
    counts[short_chunks] = short_counts
    return counts


def max_counts_bytes(chunks: int) -> int:
    """No valid section for so many chunks is longer."""
    return _PREFIX_BYTES + 2 * chunks + 2 * ((3 * chunks + 7) // 8) + 8


def _gaps(members: Integers, universe: int) -> tuple[Integers, int]:
    gaps = compute_gaps(members, np.array([len(members)]))
    return gaps, compute_rice_parameter(universe, max(len(members), 1))


def _decode_sets(
    data: memoryview, dead: int, short: int, universe: int
) -> tuple[Integers, Integers, NDArray[np.int64]]:
    parameters = [compute_rice_parameter(universe, max(size, 1)) for size in (dead, short)]
    sizes = [
        *(low_bits_bytes(size, r) for size, r in zip((dead, short), parameters, strict=True)),
        2 * short,
    ]
    edges = _PREFIX_BYTES + np.cumsum([0, *sizes])
    if edges[-1] > len(data):
        raise WireError(WireCode.MALFORMED, "the section of live chunks is cut short")
    high = decode_unary(data[edges[3] :], dead + short)
    dead_chunks, short_chunks = (
        _decode_set(data[edges[index] : edges[index + 1]], part, parameters[index], universe)
        for index, part in enumerate((high[:dead], high[dead:]))
    )
    short_counts = np.frombuffer(data[edges[2] : edges[3]], "<u2").astype(np.int64)
    return dead_chunks, short_chunks, short_counts


def _decode_set(low: memoryview, high: Integers, parameter: int, universe: int) -> Integers:
    gaps = (high << parameter) | decode_low_bits(low, len(high), parameter)
    members = restore_values(gaps, np.array([len(high)]))
    if len(members) and members[-1] >= universe:
        raise WireError(WireCode.OUT_OF_RANGE, f"chunk {members[-1]} of {universe}")
    return members
