"""The plain reference of `tools/bench codec`: a DisTrO step as one would first write it.

Tensor by tensor: momentum in parameter space, einsum transforms of 64 x 64 chunks, torch.topk with
int64 positions, an inverse transform to subtract what is sent, and a float decode of all peers'
values. Written for this comparison, after the description in arXiv 2411.19870.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SentTensor:
    """One tensor's chosen coefficients, `[chunk, k]`."""

    positions: Tensor
    signs: Tensor


Sent = Mapping[str, SentTensor]


class PlainStep:
    """Encode and apply, with the same chunks and the same number of coefficients as ours."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        chunk_size: int,
        top_k: int,
        decay: float,
        learning_rate: float,
    ) -> None:
        self.parameters = parameters
        self.momentum = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._chunk_size = chunk_size
        self._top_k = top_k
        self._decay = decay
        self._learning_rate = learning_rate

    def encode(self, gradients: Mapping[str, Tensor]) -> Sent:
        """Update the momentum, choose, and subtract the choice from the momentum."""
        sent = {}
        for name, gradient in gradients.items():
            momentum = self.momentum[name]
            momentum.mul_(self._decay).add_(gradient, alpha=self._learning_rate)
            rows, columns = self._bases(momentum)
            chunks = _split(momentum, len(rows), len(columns))
            coefficients = torch.einsum("nxy,ax,by->nab", chunks, rows, columns).flatten(1)
            k = min(self._top_k, coefficients.shape[1])
            positions = coefficients.abs().topk(k, dim=1, sorted=False).indices
            values = coefficients.gather(1, positions)
            own = torch.zeros_like(coefficients).scatter_(1, positions, values)
            momentum.sub_(self._inverse(own, momentum))
            sent[name] = SentTensor(positions, values.sign())
        return sent

    def apply(self, peers: Sequence[Sent]) -> None:
        """Average the peers' signs where they chose the same, transform, take the sign, step."""
        for name, parameter in self.parameters.items():
            positions = torch.cat([peer[name].positions for peer in peers], dim=1)
            signs = torch.cat([peer[name].signs for peer in peers], dim=1)
            rows, columns = self._bases(parameter)
            flat = torch.zeros(len(positions), len(rows) * len(columns))
            flat.scatter_reduce_(1, positions, signs, reduce="mean", include_self=False)
            parameter.sub_(self._inverse(flat, parameter).sign_(), alpha=self._learning_rate)

    def _inverse(self, flat: Tensor, like: Tensor) -> Tensor:
        rows, columns = self._bases(like)
        coefficients = flat.view(-1, len(rows), len(columns))
        return _join(torch.einsum("nab,ax,by->nxy", coefficients, rows, columns), like)

    def _bases(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = (1, 1, *tensor.shape)[-2:]
        return _basis(_divisor(rows, self._chunk_size)), _basis(_divisor(columns, self._chunk_size))


_BASES: dict[int, Tensor] = {}


def _basis(size: int) -> Tensor:
    if size not in _BASES:
        frequency = torch.arange(size, dtype=torch.float64)[:, None]
        position = torch.arange(size, dtype=torch.float64)[None, :]
        basis = torch.cos(math.pi * (2 * position + 1) * frequency / (2 * size))
        basis *= math.sqrt(2 / size)
        basis[0] /= math.sqrt(2)
        _BASES[size] = basis.float()
    return _BASES[size]


def _divisor(size: int, most: int) -> int:
    return next(d for d in range(min(size, most), 0, -1) if size % d == 0)


def _split(tensor: Tensor, rows: int, columns: int) -> Tensor:
    height, width = (1, 1, *tensor.shape)[-2:]
    grid = tensor.reshape(height // rows, rows, width // columns, columns)
    return grid.permute(0, 2, 1, 3).reshape(-1, rows, columns)


def _join(chunks: Tensor, like: Tensor) -> Tensor:
    height, width = (1, 1, *like.shape)[-2:]
    rows, columns = chunks.shape[1:]
    grid = chunks.view(height // rows, width // columns, rows, columns)
    return grid.permute(0, 2, 1, 3).reshape(like.shape)
