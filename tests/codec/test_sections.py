"""Sections come back as they went in, and nothing else is accepted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.codec import (
    Payload,
    TensorSpec,
    build_grid,
    compute_bound_bits,
    decode_coefficients,
    encode_coefficients,
    max_section_bytes,
    section_names,
)
from psyche_p2p.errors import WireError
from tests.codec.builders import assert_same, make_coefficients, make_grid

PAYLOADS = list(Payload)


@given(
    seed=st.integers(0, 2**32),
    tier=st.integers(0, 2),
    top_k=st.sampled_from([1, 2, 3, 8, 31, 64, 256]),
    dead=st.sampled_from([0.0, 0.02, 0.2, 0.7, 1.0]),
    short=st.sampled_from([0.0, 0.02, 0.5]),
    payload=st.sampled_from(PAYLOADS),
)
def test_round_trip(
    seed: int, tier: int, top_k: int, dead: float, short: float, payload: Payload
) -> None:
    grid = make_grid(tier)
    sent = make_coefficients(
        grid, np.random.default_rng(seed), payload=payload, top_k=top_k, dead=dead, short=short
    )
    sections = encode_coefficients(grid, sent)
    assert tuple(sections) == section_names(payload)
    for name, largest in max_section_bytes(grid, payload, top_k).items():
        assert len(sections[name]) <= largest, name
    assert_same(decode_coefficients(grid, payload, top_k, sections), sent)


@given(seed=st.integers(0, 2**32), payload=st.sampled_from(PAYLOADS), data=st.data())
def test_any_change_is_refused_or_means_another_update(
    seed: int, payload: Payload, data: st.DataObject
) -> None:
    """One update has one encoding: whatever still decodes encodes to exactly the changed bytes."""
    grid = make_grid()
    sections = encode_coefficients(
        grid, make_coefficients(grid, np.random.default_rng(seed), payload=payload)
    )
    name = data.draw(st.sampled_from([key for key in sections if sections[key]]))
    changed = {**sections, name: data.draw(_damaged(sections[name]))}
    try:
        decoded = decode_coefficients(grid, payload, 8, changed)
    except WireError:
        return
    assert encode_coefficients(grid, decoded) == changed


@given(
    payload=st.sampled_from(PAYLOADS),
    parts=st.lists(st.binary(max_size=400), min_size=5, max_size=5),
)
def test_random_bytes_raise_only_the_wire_error(payload: Payload, parts: list[bytes]) -> None:
    sections = dict(zip(section_names(payload), parts, strict=False))
    try:
        decoded = decode_coefficients(make_grid(), payload, 8, sections)
    except WireError:
        return
    assert encode_coefficients(make_grid(), decoded) == sections


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("change", ["longer", "shorter", "absent", "reordered", "foreign"])
def test_the_wrong_sections_are_refused(payload: Payload, change: str) -> None:
    grid = make_grid()
    sections = encode_coefficients(
        grid, make_coefficients(grid, np.random.default_rng(0), payload=payload)
    )
    for name in sections:
        wrong = dict(sections)
        if change == "longer":
            wrong[name] += b"\0"
        elif change == "shorter":
            wrong[name] = wrong[name][:-1]
        elif change == "absent":
            del wrong[name]
        elif change == "reordered":
            wrong[name] = wrong.pop(name)
        else:
            wrong["foreign"] = b""
        if tuple(wrong) == tuple(sections) and wrong == sections:
            continue
        with pytest.raises(WireError):
            decode_coefficients(grid, payload, 8, wrong)


def test_a_position_outside_its_chunk_is_refused() -> None:
    grid = make_grid()
    sent = make_coefficients(grid, np.random.default_rng(1), dead=0, short=0)
    sent.groups[0].positions[7] = grid.groups[0].area
    with pytest.raises(WireError, match="position"):
        decode_coefficients(grid, Payload.SIGNS, 8, encode_coefficients(grid, sent))


@pytest.mark.parametrize("value", [0.0, -0.0, np.nan, np.inf])
def test_a_value_that_cannot_vote_is_refused(value: float) -> None:
    grid = make_grid()
    sent = make_coefficients(grid, np.random.default_rng(1), payload=Payload.VALUES)
    values = sent.groups[0].values
    assert values is not None
    values[3] = value
    with pytest.raises(WireError, match="zero or not finite"):
        decode_coefficients(grid, Payload.VALUES, 8, encode_coefficients(grid, sent))


def test_a_section_beyond_its_largest_size_is_refused_unread() -> None:
    grid = make_grid()
    sections = encode_coefficients(grid, make_coefficients(grid, np.random.default_rng(1)))
    with pytest.raises(WireError, match="too_large"):
        decode_coefficients(grid, Payload.SIGNS, 8, {**sections, "unary": bytes(1 << 20)})


@given(seed=st.integers(0, 2**32), dead=st.sampled_from([0.0, 0.01, 0.2, 0.5]))
def test_uniform_positions_cost_little_more_than_the_bound(seed: int, dead: float) -> None:
    """On chunks of the run's real size, also when many are dead."""
    grid = build_grid([TensorSpec("w", (2048, 1024))], chunk_size=64)
    sent = make_coefficients(grid, np.random.default_rng(seed), dead=dead, short=0)
    bits = 8 * sum(len(data) for data in encode_coefficients(grid, sent).values())
    assert bits <= 1.035 * compute_bound_bits(grid, sent) + 8 * 16


def _damaged(data: bytes) -> st.SearchStrategy[bytes]:
    index = st.integers(0, len(data) - 1)
    flipped = st.tuples(index, st.integers(1, 255)).map(
        lambda change: (
            data[: change[0]] + bytes([data[change[0]] ^ change[1]]) + data[change[0] + 1 :]
        )
    )
    cut = index.map(lambda end: data[:end])
    extended = st.binary(min_size=1, max_size=9).map(lambda tail: data + tail)
    return st.one_of(flipped, cut, extended)
