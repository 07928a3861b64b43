"""The cosine transform in floats, for what one peer computes for itself alone.

It need not agree between machines: momentum and lookahead are private, and only positions and signs
are sent. What all peers must agree on goes through the integer basis (`basis.py`).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from psyche_p2p.optim.chunks import Block


@cache
def dct_matrix(size: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """The orthonormal DCT-II, `[frequency, position]`."""
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    position = torch.arange(size, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * (2 * position + 1) * frequency / (2 * size))
    matrix *= math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


def add_dct_(
    momentum_rc: Tensor,
    gradient_rc: Tensor,
    block: Block,
    *,
    decay: float,
    scale: float,
    dtype: torch.dtype = torch.float32,
) -> None:
    """momentum = decay * momentum + scale * DCT(gradient) on a block's rows of two matrices.

    Chunks stay where they are in the matrix: rows of a chunk lie end to end for the first product,
    and a row of chunks is one wide matrix for the second, which is fused with the sum. With
    another dtype the transform is computed in that, and added in float32.
    """
    rows, columns = block.tensor.chunk_rows, block.tensor.chunk_columns
    device = gradient_rc.device
    part_rc = gradient_rc[block.matrix_rows].reshape(-1, columns).to(dtype)
    half = (part_rc @ dct_matrix(columns, device, dtype).T).view(block.rows, rows, -1)
    summed = momentum_rc[block.matrix_rows].view(block.rows, rows, -1)
    left = dct_matrix(rows, device, dtype)
    if dtype == torch.float32:
        summed.baddbmm_(left.expand(block.rows, rows, rows), half, beta=decay, alpha=scale)
    else:
        summed.mul_(decay).add_(torch.matmul(left, half), alpha=scale)


def inverse_dct(coefficients_rc: Tensor, block: Block) -> Tensor:
    """The rows of a matrix whose chunks have these transforms."""
    rows, columns = block.tensor.chunk_rows, block.tensor.chunk_columns
    device = coefficients_rc.device
    part_rc = coefficients_rc[block.matrix_rows]
    half = part_rc.reshape(-1, columns) @ dct_matrix(columns, device)
    whole = torch.matmul(dct_matrix(rows, device).T, half.view(block.rows, rows, -1))
    return whole.view(part_rc.shape)
