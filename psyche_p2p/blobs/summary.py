"""What is in a blob, tensor by tensor, in numbers: for people and for `--json`.

Everything here reads blobs that `validate_blob` has found sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.blobs.dense import Tensor, read_dense
from psyche_p2p.blobs.layout import BlobView
from psyche_p2p.blobs.teacher import INDICES, read_teacher_targets
from psyche_p2p.blobs.update import Update
from psyche_p2p.codec import (
    SCALE_UNIT,
    ChunkGrid,
    Coefficients,
    GroupCoefficients,
    GroupMember,
    compute_bound_bits,
    encode_coefficients,
    index_bound_bits,
    scale_integers,
)

_BITS_PER_BYTE = 8
_STEP_ELEMENTS = 1 << 20
_INDEX_SECTIONS = (INDICES, "low", "unary")


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """One tensor of an update."""

    name: str
    shape: tuple[int, ...]
    chunk: tuple[int, int]
    chunks: int
    live: int
    entries: int
    """Coefficients sent."""
    bits: int
    """What its coefficients take when encoded on their own."""
    bound_bits: float
    """What no code can beat for coefficients spread evenly."""
    positive: int
    negative: int
    norm: float

    @property
    def live_share(self) -> float:
        return self.live / self.chunks

    @property
    def bits_per_entry(self) -> float:
        return self.bits / self.entries if self.entries else 0.0

    @property
    def bound_ratio(self) -> float:
        return self.bits / self.bound_bits if self.bound_bits else 0.0


@dataclass(frozen=True, slots=True)
class DenseSummary:
    """One whole tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int
    least: float
    greatest: float
    norm: float


@dataclass(frozen=True, slots=True)
class TargetsSummary:
    """A teacher's targets, in either form."""

    form: str
    samples: int
    positions: int
    top_k: int
    vocab_size: int | None
    """What the indices are drawn from; a plain blob does not say."""
    bytes_per_token: float
    bits_per_index: float
    bound_bits_per_index: float | None
    """What no code can beat for indices spread evenly."""
    least_mass: float
    mean_mass: float
    """The probability that the logits sent claim, over all tokens."""
    mean_logsumexp: float


def summarise_targets(view: BlobView) -> TargetsSummary:
    """A teacher's targets in numbers."""
    top, codec = read_teacher_targets(view), view.header.codec
    samples, positions, top_k = top.indices.shape
    sizes = {section.name: section.size_bytes for section in view.header.sections}
    index_bytes = sum(sizes.get(name, 0) for name in _INDEX_SECTIONS)
    mass = np.exp(top.logits.astype(np.float64) - top.logsumexp[..., None]).sum(axis=2)
    return TargetsSummary(
        form="plain" if codec is None else codec.payload,
        samples=samples,
        positions=positions,
        top_k=top_k,
        vocab_size=None if codec is None else codec.chunk_size,
        bytes_per_token=sum(sizes.values()) / (samples * positions),
        bits_per_index=_BITS_PER_BYTE * index_bytes / top.indices.size,
        bound_bits_per_index=(
            None if codec is None else index_bound_bits(top_k, codec.chunk_size) / top_k
        ),
        least_mass=float(mass.min()),
        mean_mass=float(mass.mean()),
        mean_logsumexp=float(top.logsumexp.mean()),
    )


def summarise_update(update: Update) -> list[TensorSummary]:
    """One line for every tensor, in the order of their names."""
    summaries = [
        _summarise_tensor(update.coefficients, member, part)
        for member, part in split_tensors(update)
    ]
    return sorted(summaries, key=lambda summary: summary.name)


def total_bits(update: Update) -> tuple[int, float]:
    """What the whole update takes, and what no code can beat."""
    sections = sum(section.size_bytes for section in update.header.sections)
    return _BITS_PER_BYTE * sections, compute_bound_bits(update.grid, update.coefficients)


def summarise_dense(view: BlobView) -> list[DenseSummary]:
    """One line for every tensor; looks at a little at a time."""
    return [_summarise_dense(name, array) for name, array in read_dense(view).items()]


def split_tensors(update: Update) -> Iterator[tuple[GroupMember, GroupCoefficients]]:
    """Every tensor's place in the grid, with its own coefficients."""
    for group, chosen in zip(update.grid.groups, update.coefficients.groups, strict=True):
        for member in group.members:
            yield member, _cut(chosen, member)


def energy_by_frequency(update: Update) -> NDArray[np.float64]:
    """The energy sent at each place of the largest chunks, [rows, columns]."""
    group, chosen = update.grid.groups[0], update.coefficients.groups[0]
    weights = magnitudes(chosen) ** 2
    energy = np.bincount(chosen.positions, weights=weights, minlength=group.area)
    return energy.astype(np.float64).reshape(group.rows, group.columns)


def magnitudes(chosen: GroupCoefficients) -> NDArray[np.float64]:
    """The size of every coefficient: 1 where only signs are sent."""
    if chosen.values is not None:
        return np.abs(chosen.values.astype(np.float64))
    if chosen.scales is not None:
        scales = scale_integers(chosen.scales).astype(np.float64) * SCALE_UNIT
        return np.repeat(scales, chosen.counts[chosen.live])
    return np.ones(len(chosen.positions))


def _summarise_tensor(
    whole: Coefficients, member: GroupMember, part: GroupCoefficients
) -> TensorSummary:
    grid = ChunkGrid((member.tensor,))
    alone = Coefficients(whole.payload, whole.top_k, (part,))
    negative = int(np.count_nonzero(part.negative))
    return TensorSummary(
        name=member.tensor.name,
        shape=member.tensor.shape,
        chunk=(member.tensor.chunk_rows, member.tensor.chunk_columns),
        chunks=member.tensor.chunks,
        live=int(np.count_nonzero(part.live)),
        entries=len(part.positions),
        bits=_BITS_PER_BYTE * sum(map(len, encode_coefficients(grid, alone).values())),
        bound_bits=compute_bound_bits(grid, alone),
        positive=len(part.positions) - negative,
        negative=negative,
        norm=float(np.linalg.norm(magnitudes(part))),
    )


def _cut(chosen: GroupCoefficients, member: GroupMember) -> GroupCoefficients:
    """A group's coefficients that belong to one tensor."""
    chunks = slice(member.first, member.first + member.tensor.chunks)
    offsets = chosen.offsets()
    entries = slice(int(offsets[chunks.start]), int(offsets[chunks.stop]))
    before = np.count_nonzero(chosen.live[: chunks.start])
    live = slice(before, before + np.count_nonzero(chosen.live[chunks]))
    return GroupCoefficients(
        chosen.counts[chunks],
        chosen.positions[entries],
        chosen.negative[entries],
        None if chosen.scales is None else chosen.scales[live],
        None if chosen.values is None else chosen.values[entries],
    )


def _summarise_dense(name: str, array: Tensor) -> DenseSummary:
    flat = array.reshape(-1)
    least, greatest, squares = np.inf, -np.inf, 0.0
    for begin in range(0, len(flat), _STEP_ELEMENTS):
        step = flat[begin : begin + _STEP_ELEMENTS].astype(np.float64)
        least, greatest = min(least, float(step.min())), max(greatest, float(step.max()))
        squares += float(step @ step)
    return DenseSummary(
        name, array.shape, array.dtype.name, array.nbytes, least, greatest, squares**0.5
    )
