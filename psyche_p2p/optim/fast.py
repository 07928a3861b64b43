"""The fast kernels: numba on the CPU, one pass over each chunk, in int32.

The loops release the GIL and are spread over plain threads, as many as torch uses, instead of
numba's own: its OpenMP threads spin and slow the torch calls beside them, and its work queue ends
the process when two threads enter it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psyche_p2p.codec import ChunkGroup
from psyche_p2p.optim.basis import load_basis
from psyche_p2p.optim.chunks import Block, blocks_of
from psyche_p2p.optim.compiled import apply_block, take_largest
from psyche_p2p.optim.interface import Tensors
from psyche_p2p.optim.kernels import Taken
from psyche_p2p.optim.plain import PlainKernels
from psyche_p2p.optim.votes import GroupVotes

_LARGEST_INT32 = (1 << 31) - 1
_CHUNKS_PER_TASK = 256


def int32_vote_bound(group: ChunkGroup) -> int:
    """With at most so many votes on a chunk no partial sum overflows."""
    largest = [int(np.abs(load_basis(size)).max()) for size in (group.rows, group.columns)]
    return _LARGEST_INT32 // (largest[0] * largest[1])


class FastKernels:
    """See `kernels.Kernels`."""

    name = "fast"

    def take_largest(self, chunks_nrc: Tensor, top_k: int) -> Taken:
        flat = chunks_nrc.view(len(chunks_nrc), -1).numpy()
        chunks, area = flat.shape
        sent = min(top_k, area)
        positions = np.zeros((chunks, sent), np.uint16)
        values = np.zeros((chunks, sent), np.float32)
        counts = np.zeros(chunks, np.uint16)
        _run_all(
            (take_largest, (flat[a:b], positions[a:b], values[a:b], counts[a:b]))
            for a, b in _ranges(chunks)
        )
        taken = np.arange(sent) < counts[:, None]
        return Taken(counts, positions[taken], values[taken])

    def apply_votes(self, masters: Tensors, votes: GroupVotes, learning_rate: np.float32) -> None:
        if votes.most_weight() > int32_vote_bound(votes.group):
            PlainKernels().apply_votes(masters, votes, learning_rate)
            return
        joined = _join(votes)
        _run_all(
            (apply_block, _block_arguments(masters, joined, block, learning_rate))
            for block in blocks_of(votes.group)
        )


def _join(votes: GroupVotes) -> tuple[NDArray[Any], ...]:
    """The peers' votes end to end: `[peer, chunk]` ranges, positions, signs, and the two bases."""
    shift = np.cumsum([0, *(len(peer.positions) for peer in votes.peers)])
    none = np.zeros((0, votes.group.chunks), np.int64)
    starts = [peer.starts + first for peer, first in zip(votes.peers, shift, strict=False)]
    ends = [peer.ends + first for peer, first in zip(votes.peers, shift, strict=False)]
    return (
        np.stack(starts) if starts else none,
        np.stack(ends) if ends else none,
        np.concatenate([np.zeros(0, np.uint16), *(peer.positions for peer in votes.peers)]),
        np.concatenate([np.zeros(0, np.int32), *(peer.weights for peer in votes.peers)]).astype(
            np.int32
        ),
        load_basis(votes.group.rows),
        load_basis(votes.group.columns),
    )


def _block_arguments(
    masters: Tensors, joined: tuple[NDArray[Any], ...], block: Block, learning_rate: np.float32
) -> tuple[Any, ...]:
    starts, ends, *rest = joined
    matrix = masters[block.tensor.name].detach().view(block.tensor.matrix_shape).numpy()
    first = block.first_row * block.tensor.chunk_rows
    rows = matrix[first : first + block.rows * block.tensor.chunk_rows]
    columns = block.tensor.grid_columns
    return rows, columns, starts[:, block.slice], ends[:, block.slice], *rest, learning_rate


def _run_all(tasks: Iterable[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for future in [pool.submit(function, *arguments) for function, arguments in tasks]:
            future.result()


def _ranges(chunks: int) -> list[tuple[int, int]]:
    return [(a, min(a + _CHUNKS_PER_TASK, chunks)) for a in range(0, chunks, _CHUNKS_PER_TASK)]
