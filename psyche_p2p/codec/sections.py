"""A sparse update as the sections of a blob, and back: tight, canonical, and strict about input.

    live    which chunks send, and how many coefficients (`liveness.py`); empty if all send top_k
    low     low bits of the positions' gaps, group after group, each padded to a byte
    unary   the rest of all gaps
    signs   one bit a coefficient, 1 for negative           (SIGNS, SCALED_SIGNS)
    scales  one byte a live chunk                           (SCALED_SIGNS)
    values  float32 little-endian a coefficient             (VALUES)

The grid, the payload and top_k come from what the reader itself knows of the run; with them every
section has a largest possible size, so that decoding allocates in proportion to the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.codec.coefficients import Coefficients, GroupCoefficients, Payload
from psyche_p2p.codec.grid import ChunkGrid, ChunkGroup
from psyche_p2p.codec.liveness import decode_counts, encode_counts, max_counts_bytes
from psyche_p2p.codec.rice import (
    Integers,
    compute_gaps,
    compute_rice_parameter,
    decode_low_bits,
    decode_unary,
    encode_low_bits,
    encode_unary,
    low_bits_bytes,
    pack_bits,
    require_length,
    restore_values,
    unpack_bits,
)
from psyche_p2p.errors import WireCode, WireError

Buffer = bytes | bytearray | memoryview
_Element = TypeVar("_Element", bound=np.generic)

_POSITIONS = ("live", "low", "unary")
_BY_PAYLOAD = {
    Payload.SIGNS: (*_POSITIONS, "signs"),
    Payload.SCALED_SIGNS: (*_POSITIONS, "signs", "scales"),
    Payload.VALUES: (*_POSITIONS, "values"),
}


def section_names(payload: Payload) -> tuple[str, ...]:
    """The sections of an update, in the order they are written."""
    return _BY_PAYLOAD[payload]


def max_section_bytes(grid: ChunkGrid, payload: Payload, top_k: int) -> dict[str, int]:
    """The largest size each section can have; check it before reading any."""
    entries = sum(group.chunks * group.sent_per_chunk(top_k) for group in grid.groups)
    low = sum(
        low_bits_bytes(group.chunks * group.sent_per_chunk(top_k), _parameter(group, top_k))
        for group in grid.groups
    )
    unary_bits = entries + sum(
        group.chunks * (group.area >> _parameter(group, top_k)) for group in grid.groups
    )
    largest = {
        "live": max_counts_bytes(grid.chunks),
        "low": low,
        "unary": (unary_bits + 7) // 8,
        "signs": (entries + 7) // 8,
        "scales": grid.chunks,
        "values": 4 * entries,
    }
    return {name: largest[name] for name in section_names(payload)}


def encode_coefficients(grid: ChunkGrid, coefficients: Coefficients) -> dict[str, bytes]:
    """The sections of an update, by name and in order."""
    top_k, groups = coefficients.top_k, coefficients.groups
    gaps = [_group_gaps(group) for group in groups]
    parameters = [_parameter(group, top_k) for group in grid.groups]
    low = [encode_low_bits(gap, r) for gap, r in zip(gaps, parameters, strict=True)]
    high = [gap >> r for gap, r in zip(gaps, parameters, strict=True)]
    counts = np.concatenate([group.counts for group in groups]).astype(np.int64)
    sections = {
        "live": encode_counts(counts, _full_counts(grid, top_k)),
        "low": b"".join(low),
        "unary": encode_unary(np.concatenate(high)),
    }
    if coefficients.payload is Payload.VALUES:
        return {**sections, "values": _encode_values(groups)}
    sections["signs"] = pack_bits(np.concatenate([group.negative for group in groups]))
    if coefficients.payload is Payload.SCALED_SIGNS:
        sections["scales"] = b"".join(
            group.scales.tobytes() for group in groups if group.scales is not None
        )
    return sections


def decode_coefficients(
    grid: ChunkGrid, payload: Payload, top_k: int, sections: Mapping[str, Buffer]
) -> Coefficients:
    """The update in these sections; WireError for anything `encode_coefficients` cannot write."""
    views = _require_sections(grid, payload, top_k, sections)
    counts = decode_counts(views["live"], _full_counts(grid, top_k))
    by_group = _split(counts, [group.chunks for group in grid.groups])
    entries = [int(part.sum()) for part in by_group]
    positions = _decode_positions(grid, top_k, views, by_group)
    negative, values = _decode_payload(payload, views, sum(entries))
    groups = zip(
        (part.astype(np.uint16) for part in by_group),
        positions,
        _split(negative, entries),
        _decode_scales(payload, views, by_group),
        [None] * len(entries) if values is None else _split(values, entries),
        strict=True,
    )
    return Coefficients(payload, top_k, tuple(GroupCoefficients(*parts) for parts in groups))


def _require_sections(
    grid: ChunkGrid, payload: Payload, top_k: int, sections: Mapping[str, Buffer]
) -> dict[str, memoryview]:
    if tuple(sections) != section_names(payload):
        cause = f"sections {', '.join(sections)} where {', '.join(section_names(payload))} must be"
        raise WireError(WireCode.MALFORMED, cause)
    views = {name: memoryview(data) for name, data in sections.items()}
    for name, largest in max_section_bytes(grid, payload, top_k).items():
        if len(views[name]) > largest:
            cause = f"section {name} of {len(views[name])} bytes, at most {largest} are possible"
            raise WireError(WireCode.TOO_LARGE, cause)
    return views


def _decode_positions(
    grid: ChunkGrid, top_k: int, views: Mapping[str, memoryview], counts: list[Integers]
) -> list[NDArray[np.uint16]]:
    entries = [int(part.sum()) for part in counts]
    high = _split(decode_unary(views["unary"], sum(entries)), entries)
    low, positions = views["low"], []
    for group, group_counts, rest in zip(grid.groups, counts, high, strict=True):
        parameter = _parameter(group, top_k)
        size = low_bits_bytes(len(rest), parameter)
        gaps = (rest << parameter) | decode_low_bits(low[:size], len(rest), parameter)
        low = low[size:]
        values = restore_values(gaps, group_counts)
        if len(values) and int(values.max()) >= group.area:
            cause = f"position {values.max()} in a chunk of {group.area}"
            raise WireError(WireCode.OUT_OF_RANGE, cause)
        positions.append(values.astype(np.uint16))
    require_length("low bits after the last position", low, 0)
    return positions


def _decode_payload(
    payload: Payload, views: Mapping[str, memoryview], entries: int
) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
    if payload is not Payload.VALUES:
        return unpack_bits("signs", views["signs"], entries), None
    require_length("values", views["values"], 4 * entries)
    values = np.frombuffer(views["values"], "<f4").astype(np.float32)
    if not np.isfinite(values).all() or not values.all():
        raise WireError(WireCode.OUT_OF_RANGE, "a value that is zero or not finite")
    return np.signbit(values), values


def _decode_scales(
    payload: Payload, views: Mapping[str, memoryview], counts: list[Integers]
) -> list[NDArray[np.uint8]] | list[None]:
    if payload is not Payload.SCALED_SIGNS:
        return [None] * len(counts)
    live = [int(np.count_nonzero(part)) for part in counts]
    require_length("scales", views["scales"], sum(live))
    return _split(np.frombuffer(views["scales"], np.uint8).copy(), live)


def _encode_values(groups: tuple[GroupCoefficients, ...]) -> bytes:
    parts = [group.values for group in groups if group.values is not None]
    return np.concatenate(parts).astype("<f4").tobytes()


def _parameter(group: ChunkGroup, top_k: int) -> int:
    return compute_rice_parameter(group.area, group.sent_per_chunk(top_k))


def _full_counts(grid: ChunkGrid, top_k: int) -> Integers:
    full = [np.full(group.chunks, group.sent_per_chunk(top_k)) for group in grid.groups]
    return np.concatenate(full).astype(np.int64)


def _group_gaps(group: GroupCoefficients) -> Integers:
    return compute_gaps(group.positions.astype(np.int64), group.counts.astype(np.int64))


def _split(array: NDArray[_Element], sizes: list[int]) -> list[NDArray[_Element]]:
    ends = np.cumsum(sizes)
    return [array[end - size : end] for end, size in zip(ends, sizes, strict=True)]
