"""Rice codes for rising integers, split in two streams so that both directions are vectorised.

A sorted set is written as its gaps. Of every gap the lowest r bits go to one stream, and the rest,
in unary, to another (R. F. Rice, "Some practical universal noiseless coding techniques", JPL 79-22,
1979). Bits are packed least significant first. One set has one encoding: padding bits are zero,
lengths are exact, and a decoder accepts nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.errors import WireCode, WireError

Integers = NDArray[np.int64]


def compute_rice_parameter(universe: int, size: int) -> int:
    """The r that codes a random set of `size` out of `universe` in the fewest bits.

    One more low bit pays while the chance that a gap reaches 2**r is above the golden ratio's
    0.618, which is 2**r < 0.4812 * universe / size; in integers, so that all machines agree.
    """
    if size < 1:
        raise ValueError("a set without members is not coded at all")
    parameter = 0
    while (1 << parameter) * size * 10_000 < 4812 * universe:
        parameter += 1
    return parameter


def compute_gaps(values: Integers, counts: Integers) -> Integers:
    """The gaps of several sorted sets in a row: what lies between a value and the one before it."""
    gaps = np.diff(values, prepend=np.int64(-1)) - 1
    starts = _starts(counts)
    gaps[starts] = values[starts]
    return gaps


def restore_values(gaps: Integers, counts: Integers) -> Integers:
    """The inverse of `compute_gaps`."""
    running = np.cumsum(gaps + 1)
    starts = _starts(counts)
    before = running[starts] - gaps[starts] - 1
    return running - np.repeat(before, counts[counts > 0]) - 1


def encode_low_bits(gaps: Integers, parameter: int) -> bytes:
    """The lowest `parameter` bits of every gap."""
    if parameter == 8:
        return (gaps & 0xFF).astype(np.uint8).tobytes()
    bits = (gaps[:, None] >> np.arange(parameter)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def decode_low_bits(data: memoryview, size: int, parameter: int) -> Integers:
    """The inverse; the data must be exactly as long as it has to be."""
    if parameter == 8:
        require_length("low bits", data, size)
        return np.frombuffer(data, np.uint8).astype(np.int64)
    bits = unpack_bits("low bits", data, size * parameter)
    weights = np.int64(1) << np.arange(parameter, dtype=np.int64)
    gaps: Integers = bits.reshape(size, parameter).astype(np.int64) @ weights
    return gaps


def low_bits_bytes(size: int, parameter: int) -> int:
    """How long `encode_low_bits` is."""
    return (size * parameter + 7) // 8


def encode_unary(numbers: Integers) -> bytes:
    """Every number as that many zeros and a one."""
    if not len(numbers):
        return b""
    ends = np.cumsum(numbers + 1) - 1
    bits = np.zeros(int(ends[-1]) + 1, np.uint8)
    bits[ends] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def decode_unary(data: memoryview, size: int) -> Integers:
    """The inverse; refuses any other count of numbers, and any byte after the last."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    ends = np.flatnonzero(bits)
    if len(ends) != size:
        raise WireError(WireCode.MALFORMED, f"{len(ends)} unary numbers where {size} must be")
    used = (int(ends[-1]) + 8) // 8 if size else 0
    require_length("unary numbers", data, used)
    return np.diff(ends, prepend=np.int64(-1)) - 1


def pack_bits(bits: NDArray[np.bool_]) -> bytes:
    """Booleans as bits."""
    return np.packbits(bits, bitorder="little").tobytes()


def unpack_bits(what: str, data: memoryview, size: int) -> NDArray[np.bool_]:
    """The inverse; padding must be zero."""
    require_length(what, data, (size + 7) // 8)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").view(np.bool_)
    if bits[size:].any():
        raise WireError(WireCode.NOT_CANONICAL, f"{what}: padding bits that are not zero")
    return bits[:size]


def require_length(what: str, data: memoryview, expected: int) -> None:
    """Refuse data that is longer or shorter than its content."""
    if len(data) != expected:
        raise WireError(WireCode.MALFORMED, f"{what}: {len(data)} bytes where {expected} must be")


def _starts(counts: Integers) -> Integers:
    """Where every set that is not empty begins."""
    ends = np.cumsum(counts, dtype=np.int64)
    return (ends - counts)[counts > 0]
