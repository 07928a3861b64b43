"""The cosine transform in floats, for what one peer computes for itself alone.

It need not agree between machines: momentum and lookahead are private, and only positions and signs
are sent. What all peers must agree on goes through the integer basis (`basis.py`).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor


@cache
def dct_matrix(size: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """The orthonormal DCT-II, `[frequency, position]`."""
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    position = torch.arange(size, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * (2 * position + 1) * frequency / (2 * size))
    matrix *= math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


def add_dct_(momentum_nrc: Tensor, chunks_nrc: Tensor, *, decay: float, scale: float) -> None:
    """momentum = decay * momentum + scale * DCT(chunks), the second product fused with the sum.

    Chunks in bfloat16 are transformed in bfloat16 and added in float32.
    """
    count, rows, columns = chunks_nrc.shape
    device, dtype = chunks_nrc.device, chunks_nrc.dtype
    half = (chunks_nrc.reshape(-1, columns) @ dct_matrix(columns, device, dtype).T).view(
        count, rows, columns
    )
    left = dct_matrix(rows, device, dtype)
    if dtype == torch.float32:
        momentum_nrc.baddbmm_(left.expand(count, rows, rows), half, beta=decay, alpha=scale)
    else:
        momentum_nrc.mul_(decay).add_(torch.matmul(left, half), alpha=scale)


def inverse_dct(coefficients_nrc: Tensor) -> Tensor:
    """The chunks whose transform this is."""
    count, rows, columns = coefficients_nrc.shape
    device = coefficients_nrc.device
    half = coefficients_nrc.reshape(-1, columns) @ dct_matrix(columns, device)
    return torch.matmul(dct_matrix(rows, device).T, half.view(count, rows, columns))
