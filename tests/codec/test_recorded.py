"""Real updates: close to the entropy bound, and through the codec unchanged.

The recording is the last of 200 rounds of three tier-0 peers, made by
`tools/simulate-training --record tests/codec/assets/steady_state.npz`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from psyche_p2p.codec import (
    compare_coefficients,
    compute_bound_bits,
    decode_coefficients,
    encode_coefficients,
)
from psyche_p2p.codec.recording import dump_recording, parse_recording
from tests.codec.builders import assert_same

GRID, UPDATES = parse_recording((Path(__file__).parent / "assets/steady_state.npz").read_bytes())


@pytest.mark.parametrize("index", range(len(UPDATES)))
def test_size_is_within_three_percent_of_the_bound(index: int) -> None:
    update = UPDATES[index]
    assert update.entries > 1500
    size_bits = 8 * sum(len(data) for data in encode_coefficients(GRID, update).values())
    assert 1.0 <= size_bits / compute_bound_bits(GRID, update) <= 1.03


@pytest.mark.parametrize("index", range(len(UPDATES)))
def test_round_trip(index: int) -> None:
    update = UPDATES[index]
    sections = encode_coefficients(GRID, update)
    assert_same(decode_coefficients(GRID, update.payload, update.top_k, sections), update)


def test_a_recording_comes_back() -> None:
    grid, updates = parse_recording(dump_recording(GRID, UPDATES))
    assert grid == GRID
    for before, after in zip(UPDATES, updates, strict=True):
        assert_same(before, after)


def test_an_update_is_like_itself_and_less_like_anothers() -> None:
    same = compare_coefficients(GRID, UPDATES[0], UPDATES[0])
    assert (same.common, same.sign_agreement) == (UPDATES[0].entries, 1.0)
    assert (same.only_first, same.only_second) == (0, 0)
    other = compare_coefficients(GRID, UPDATES[0], UPDATES[1])
    assert 0 < other.common < UPDATES[0].entries
    assert other.common + other.only_first == UPDATES[0].entries
    assert other.common + other.only_second == UPDATES[1].entries
