"""Chunks of a tensor in memory: as a view, and in blocks small enough to stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from psyche_p2p.codec import ChunkGroup, GroupMember, TensorGrid

_BLOCK_ELEMENTS = 1 << 18  # 1 MiB of float32: stays in a core's cache over three operations


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole rows of one tensor's grid: `chunks` chunks from `first` of the group on."""

    tensor: TensorGrid
    first_row: int
    rows: int
    first: int

    @property
    def chunks(self) -> int:
        return self.rows * self.tensor.grid_columns

    @property
    def slice(self) -> slice:
        return slice(self.first, self.first + self.chunks)


def blocks_of(group: ChunkGroup) -> Iterator[Block]:
    """All chunks of a group, in order."""
    for member in group.members:
        yield from blocks_of_member(member)


def blocks_of_member(member: GroupMember) -> Iterator[Block]:
    """All chunks of one tensor, in order."""
    tensor = member.tensor
    row_elements = tensor.grid_columns * tensor.chunk_rows * tensor.chunk_columns
    step = max(1, _BLOCK_ELEMENTS // row_elements)
    for row in range(0, tensor.grid_rows, step):
        rows = min(step, tensor.grid_rows - row)
        yield Block(tensor, row, rows, member.first + row * tensor.grid_columns)


def chunk_view(tensor: Tensor, block: Block) -> Tensor:
    """The block as `[grid row, grid column, row, column]`, sharing the tensor's memory."""
    grid = block.tensor
    whole = tensor.view(grid.grid_rows, grid.chunk_rows, grid.grid_columns, grid.chunk_columns)
    return whole[block.first_row : block.first_row + block.rows].permute(0, 2, 1, 3)


def read_chunks(tensor: Tensor, block: Block) -> Tensor:
    """A copy of the block as `[chunk, row, column]`."""
    view = chunk_view(tensor, block)
    return view.reshape(block.chunks, *view.shape[2:])


def as_chunk_view(chunks: Tensor, block: Block) -> Tensor:
    """Chunks `[chunk, row, column]` in the shape of `chunk_view`, to be written through it."""
    return chunks.view(block.rows, block.tensor.grid_columns, *chunks.shape[1:])


def empty_chunks(group: ChunkGroup, device: torch.device) -> Tensor:
    """Zeros for every chunk of a group, `[chunk, row, column]`."""
    return torch.zeros(group.chunks, group.rows, group.columns, device=device)


def narrow_to(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The prefix of this shape: a smaller tier's part of a larger tier's tensor."""
    for axis, size in enumerate(shape):
        tensor = tensor.narrow(axis, 0, size)
    return tensor
