"""Magnitudes in one byte: exact integers, and never further than half a step."""

from __future__ import annotations

import numpy as np
import pytest

from psyche_p2p.codec import SCALE_UNIT, quantize_scales, scale_integers

CODES = np.arange(256, dtype=np.uint8)


def test_every_code_comes_back() -> None:
    magnitudes = (scale_integers(CODES) * SCALE_UNIT).astype(np.float32)
    np.testing.assert_array_equal(quantize_scales(magnitudes), CODES)


def test_codes_rise_and_sums_of_all_peers_stay_exact() -> None:
    integers = scale_integers(CODES)
    assert (np.diff(integers) > 0).all()
    assert int(integers[-1]) * 256 * 4096 < 2**63
    assert int(integers[-1]) * 256 < 2**53, "256 peers on one coefficient fit a float64"


def test_the_nearest_code_is_chosen() -> None:
    generator = np.random.default_rng(0)
    magnitudes = np.exp(generator.uniform(np.log(2e-10), np.log(0.46), 10_000)).astype(np.float32)
    found = scale_integers(quantize_scales(magnitudes)) * SCALE_UNIT
    assert (np.abs(found / magnitudes - 1)).max() <= 1 / 16 + 1e-6


@pytest.mark.parametrize(("magnitude", "code"), [(0.0, 0), (1e-30, 0), (0.5, 255), (1e9, 255)])
def test_out_of_range_is_clamped(magnitude: float, code: int) -> None:
    assert quantize_scales(np.array([magnitude], np.float32)) == code
