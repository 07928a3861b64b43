"""`data.provider = "parquet"`: preprocessed rows, a sequence of tokens each, or several.

    inputs             a list of token ids (also called input_ids)
    labels             optional: the same ids, -100 where the prediction does not count
    sequence_lengths   optional: several sequences, of these lengths; the rest is padding
    position_ids       optional: the same fact, as positions that begin at 0 with every sequence

Every sequence is a sample of its own, so that no token ever attends to another sequence, which is
what packed rows mean. A parquet file cannot be mapped: it is decoded once, at the start, into a
nameless temporary file, which is.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from psyche_p2p.data.blocks import BlockHasher, digest_of_blocks
from psyche_p2p.data.manifest import Manifest, ManifestEntry
from psyche_p2p.data.order import SlotOrder
from psyche_p2p.data.parquet_rows import Numbers, Row, read_rows
from psyche_p2p.data.samples import PADDING, Samples, SlotSamples, without_prediction
from psyche_p2p.data.spool import Spool
from psyche_p2p.data.token_file import Progress, open_regular, require_in_vocabulary
from psyche_p2p.data.tokens import find_files
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error

SUFFIXES = (".parquet",)
ENCODING = "parquet-rows"
_IGNORED = -100
_HASHED_AT_ONCE = 4 << 20


class RowSamples(SlotSamples):
    """Samples of sequences of any length up to a sample's; shorter ones are padded."""

    def __init__(
        self,
        manifest: Manifest,
        tokens: npt.NDArray[np.integer],
        starts: npt.NDArray[np.integer],
        sequence_length: int,
        shuffle_seed: int,
        heldout_fraction: float,
    ) -> None:
        count = len(starts) - 1
        too_few = DataError(f"{count} sequences are too few to train on", "use more rows")
        order = SlotOrder.split(count, heldout_fraction, shuffle_seed, too_few)
        super().__init__(manifest, order, sequence_length)
        self._tokens = tokens
        self._starts = starts

    def _gather(self, slots: Sequence[int]) -> Samples:
        rows = np.full((len(slots), self._sequence_length + 1), PADDING, dtype=np.int64)
        for row, slot in zip(rows, slots, strict=True):
            sequence = self._tokens[self._starts[slot] : self._starts[slot + 1]]
            row[: len(sequence)] = sequence
        return rows


def open_parquet_files(
    folder: Path,
    patterns: Sequence[str],
    vocab_size: int,
    sequence_length: int,
    on_progress: Progress = lambda _: None,
) -> tuple[Manifest, npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """The manifest, all tokens, and where each sequence begins (and the last one ends)."""
    entries: list[ManifestEntry] = []
    with Spool(np.dtype(np.int32)) as tokens, Spool(np.dtype(np.int64)) as starts:
        starts.append(np.zeros(1, dtype=np.int64))
        for name, path in find_files(folder, patterns, SUFFIXES):
            mapped = _map(path)
            entries.append(ManifestEntry(name, len(mapped), _digest(mapped, on_progress)))
            for sequence in _all_sequences(mapped, name, vocab_size, sequence_length):
                tokens.append(sequence.astype(np.int32))
                starts.append(np.array([tokens.count], dtype=np.int64))
        return Manifest(ENCODING, tuple(entries)), tokens.finish(), starts.finish()


def _all_sequences(
    mapped: memoryview, name: str, vocab_size: int, sequence_length: int
) -> Iterator[Numbers]:
    for number, row in enumerate(read_rows(mapped, name)):
        place = f"{name} row {number}"
        for sequence in _sequences(row, place, vocab_size):
            if len(sequence) > sequence_length + 1:
                raise DataError(
                    f"{place}: a sequence of {len(sequence)} tokens, a sample of this run "
                    f"takes {sequence_length + 1}",
                    "split it, or raise data.sequence_length",
                )
            yield sequence


def _map(path: Path) -> memoryview:
    try:
        descriptor = open_regular(path)
        try:
            return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(descriptor)
    except ValueError as error:  # an empty file cannot be mapped
        raise DataError(f"{path.name} is empty", "copy or write it again") from error
    except OSError as error:
        raise storage_error("cannot read", path, error) from error


def _digest(mapped: memoryview, on_progress: Progress) -> bytes:
    hasher = BlockHasher()
    for start in range(0, len(mapped), _HASHED_AT_ONCE):
        part = mapped[start : start + _HASHED_AT_ONCE]
        hasher.update(part)
        on_progress(len(part))
    return digest_of_blocks(hasher.finish())


def _sequences(row: Row, place: str, vocab_size: int) -> Iterator[Numbers]:
    """The row's sequences; a token whose prediction does not count is marked as such."""
    if len(row.inputs) == 0:
        return
    require_in_vocabulary(place, row.inputs, 0, vocab_size)
    tokens = row.inputs if row.labels is None else _masked(row.inputs, row.labels, place)
    lengths = _lengths(row, place)
    ends = np.cumsum(lengths)
    for start, end in zip(ends - lengths, ends, strict=True):
        if end - start >= 2:  # one token alone predicts nothing
            yield tokens[start:end]


def _masked(inputs: Numbers, labels: Numbers, place: str) -> Numbers:
    if len(labels) != len(inputs):
        cause = f"{place}: {len(labels)} labels for {len(inputs)} inputs"
        raise DataError(cause, "write the row again")
    wrong = np.flatnonzero((labels != inputs) & (labels != _IGNORED))
    if len(wrong):
        at = int(wrong[0])
        cause = f"{place}: label {labels[at]} at {at} is neither the input {inputs[at]} nor -100"
        raise DataError(cause, "labels must not be shifted: the model does that")
    masked: Numbers = np.where(labels == _IGNORED, without_prediction(inputs), inputs)
    return masked


def _lengths(row: Row, place: str) -> Numbers:
    """The lengths of the row's sequences, from whichever column says them."""
    size, lengths, positions = len(row.inputs), row.sequence_lengths, row.position_ids
    if lengths is not None and (lengths.min(initial=0) < 0 or lengths.sum() > size):
        cause = f"{place}: sequence_lengths {_shown(lengths)} do not fit into {size} inputs"
        raise DataError(cause, "write the row again")
    if positions is not None and len(positions) != size:
        cause = f"{place}: {len(positions)} position_ids for {size} inputs"
        raise DataError(cause, "write the row again")
    if lengths is None:
        if positions is None:
            return np.array([size], dtype=np.int64)
        lengths = np.diff([*np.flatnonzero(positions == 0), size])
    if positions is not None:
        expected = np.concatenate([np.arange(length) for length in lengths] or [positions[:0]])
        if not np.array_equal(positions[: len(expected)], expected):
            cause = f"{place}: position_ids do not count from 0 in every sequence"
            raise DataError(cause, "write the row again")
    return lengths


def _shown(numbers: Iterable[int]) -> str:
    shown = [str(number) for number in numbers]
    return f"[{', '.join(shown[:4])}{', ...' if len(shown) > 4 else ''}]"
