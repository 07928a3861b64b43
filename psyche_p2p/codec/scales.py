"""One byte of magnitude: an integer with a 3-bit mantissa, so that sums of many are exact.

A code e * 8 + m stands for (8 + m) << e units of 2**-36: from 1.2e-10 to 0.47, a step of at most an
eighth. The sender carries the rounding error on in its error feedback.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCALE_UNIT = 2.0**-36
_LARGEST_MAGNITUDE = 15 << 31  # code 255; rounding cannot go above it


def scale_integers(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What the codes stand for, in units of `SCALE_UNIT`."""
    wide = codes.astype(np.int64)
    magnitudes: NDArray[np.int64] = (8 + (wide & 7)) << (wide >> 3)
    return magnitudes


def quantize_scales(magnitudes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The nearest codes; what is out of range becomes the smallest or the largest."""
    units = np.clip(magnitudes.astype(np.float64) / SCALE_UNIT, 8, _LARGEST_MAGNITUDE)
    fraction, exponent = np.frexp(units)
    mantissa = np.rint(fraction * 16).astype(np.int64)
    codes: NDArray[np.int64] = (exponent.astype(np.int64) - 4) * 8 + mantissa - 8
    return codes.astype(np.uint8)
