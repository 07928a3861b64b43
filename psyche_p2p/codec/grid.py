"""The chunk grid: how a model's tensors are cut into small rectangles, at any tier.

Every tensor is cut along both axes by a divisor of its sizes, at most `chunk_size`; one-dimensional
tensors are one row. All chunks of one shape form a group, which the arithmetic treats as one batch.
Along the axis that tiers shorten, the chunk divides the smallest allowed tier's width, so that no
chunk straddles the edge of a slice and a tier's chunks are a subset of the full model's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import MAX_TIER

MAX_CHUNK_SIZE = 64


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of the full model; `tier_axis` is the axis of which tier t keeps `size >> t`."""

    name: str
    shape: tuple[int, ...]
    tier_axis: int | None = None


@dataclass(frozen=True, slots=True)
class TensorGrid:
    """One tensor as a matrix of chunks, counted row by row."""

    name: str
    shape: tuple[int, ...]
    chunk_rows: int
    chunk_columns: int

    def __post_init__(self) -> None:
        rows, columns = _matrix_shape(self.name, self.shape)
        for size, chunk in ((rows, self.chunk_rows), (columns, self.chunk_columns)):
            if not 1 <= chunk <= MAX_CHUNK_SIZE or size % chunk:
                raise ModelError(
                    f"tensor {self.name} of shape {self.shape} cannot be cut into chunks of "
                    f"{self.chunk_rows} x {self.chunk_columns}"
                )

    @property
    def matrix_shape(self) -> tuple[int, int]:
        return _matrix_shape(self.name, self.shape)

    @property
    def grid_rows(self) -> int:
        return self.matrix_shape[0] // self.chunk_rows

    @property
    def grid_columns(self) -> int:
        return self.matrix_shape[1] // self.chunk_columns

    @property
    def chunks(self) -> int:
        return self.grid_rows * self.grid_columns


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A tensor's place in its group: its chunks are `first <= i < first + tensor.chunks`."""

    tensor: TensorGrid
    first: int


@dataclass(frozen=True, slots=True)
class ChunkGroup:
    """All chunks of one shape, tensor after tensor in the order of their names."""

    rows: int
    columns: int
    members: tuple[GroupMember, ...]
    chunks: int

    @property
    def area(self) -> int:
        """Coefficients in one chunk."""
        return self.rows * self.columns

    def sent_per_chunk(self, top_k: int) -> int:
        """How many coefficients a live chunk sends: a small chunk has fewer than `top_k`."""
        return min(top_k, self.area)


@dataclass(frozen=True)
class ChunkGrid:
    """The chunks of a whole model at one tier."""

    tensors: tuple[TensorGrid, ...]

    def __post_init__(self) -> None:
        names = [tensor.name for tensor in self.tensors]
        if names != sorted(set(names)):
            raise ModelError("the tensors of a grid must be sorted by name, each once")

    @cached_property
    def groups(self) -> tuple[ChunkGroup, ...]:
        """Largest chunks first; the same tensors give the same groups on every machine."""
        by_shape: dict[tuple[int, int], list[TensorGrid]] = {}
        for tensor in self.tensors:
            by_shape.setdefault((tensor.chunk_rows, tensor.chunk_columns), []).append(tensor)
        return tuple(
            _chunk_group(rows, columns, by_shape[rows, columns])
            for rows, columns in sorted(by_shape, key=lambda shape: (-shape[0] * shape[1], shape))
        )

    @property
    def chunks(self) -> int:
        return sum(group.chunks for group in self.groups)


def build_grid(
    specs: Iterable[TensorSpec], *, chunk_size: int, max_tier: int = 0, tier: int = 0
) -> ChunkGrid:
    """The grid of a model at `tier`, given its tensors at tier 0 and the run's smallest tier."""
    if not 0 <= tier <= max_tier <= MAX_TIER:
        raise ModelError(f"tier {tier} is not allowed", f"this run's max_tier is {max_tier}")
    tensors = [_tensor_grid(spec, chunk_size, max_tier, tier) for spec in specs]
    return ChunkGrid(tuple(sorted(tensors, key=lambda tensor: tensor.name)))


def map_chunks(source: ChunkGrid, target: ChunkGrid) -> tuple[NDArray[np.int64], ...]:
    """For every group of `source`, each chunk's index in the same group of `target`, or -1.

    Works between any two tiers of one model, in both directions: a chunk keeps its row and column
    in its tensor's matrix. Indices rise within a group, apart from the -1.
    """
    if [(group.rows, group.columns) for group in source.groups] != [
        (group.rows, group.columns) for group in target.groups
    ]:
        raise ModelError("the two grids cut their tensors differently: not tiers of one model")
    return tuple(
        np.concatenate([_map_member(member, _find(other, member)) for member in group.members])
        for group, other in zip(source.groups, target.groups, strict=True)
    )


def _map_member(source: GroupMember, target: GroupMember) -> NDArray[np.int64]:
    rows = np.arange(source.tensor.grid_rows)[:, None]
    columns = np.arange(source.tensor.grid_columns)[None, :]
    index = target.first + rows * target.tensor.grid_columns + columns
    held = (rows < target.tensor.grid_rows) & (columns < target.tensor.grid_columns)
    return np.where(held, index, -1).reshape(-1)


def _find(group: ChunkGroup, wanted: GroupMember) -> GroupMember:
    for member in group.members:
        if member.tensor.name == wanted.tensor.name:
            return member
    raise ModelError(f"tensor {wanted.tensor.name} is in one grid and not in the other")


def _chunk_group(rows: int, columns: int, tensors: Sequence[TensorGrid]) -> ChunkGroup:
    members, first = [], 0
    for tensor in tensors:
        members.append(GroupMember(tensor, first))
        first += tensor.chunks
    return ChunkGroup(rows, columns, tuple(members), first)


def _tensor_grid(spec: TensorSpec, chunk_size: int, max_tier: int, tier: int) -> TensorGrid:
    smallest, shape = list(spec.shape), list(spec.shape)
    if spec.tier_axis is not None:
        full = spec.shape[spec.tier_axis]
        if full % (1 << max_tier):
            raise ModelError(
                f"tensor {spec.name}: a width of {full} cannot be halved {max_tier} times",
                "choose a width that is a multiple of the chunk size << max_tier",
            )
        smallest[spec.tier_axis] = full >> max_tier
        shape[spec.tier_axis] = full >> tier
    rows, columns = _matrix_shape(spec.name, tuple(smallest))
    return TensorGrid(
        spec.name,
        tuple(shape),
        _largest_divisor(rows, chunk_size),
        _largest_divisor(columns, chunk_size),
    )


def _matrix_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) > 2 or any(size < 1 for size in shape):
        raise ModelError(f"tensor {name} of shape {shape} is neither a vector nor a matrix")
    rows, columns = (1, 1, *shape)[-2:]
    return rows, columns


def _largest_divisor(size: int, most: int) -> int:
    return next(divisor for divisor in range(min(size, most), 0, -1) if size % divisor == 0)
