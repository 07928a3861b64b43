"""`data.provider = "mixture"`: several corpora, of each a stated share.

Of every `sum of weights` samples in a row, exactly `weight` come from each part, in an order that
is shuffled anew each time. So the shares are exact at any moment, and which sample an index stands
for is computed from the index alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

import numpy as np

from psyche_p2p.data.manifest import Manifest
from psyche_p2p.data.permutation import Permutation
from psyche_p2p.data.samples import Samples, SampleSource
from psyche_p2p.ids import BatchInterval


@dataclass(frozen=True, slots=True)
class Part:
    """A corpus of a mixture."""

    name: str
    weight: int
    samples: SampleSource


class Mixing:
    """Which part an index falls to, and which of the part's own samples it is."""

    def __init__(self, weights: Sequence[int], shuffle_seed: int) -> None:
        self._ends = list(accumulate(weights))
        self._weights = weights
        self._shuffle_seed = shuffle_seed
        self._cycle_order = lru_cache(maxsize=4)(self._make_cycle_order)

    @property
    def cycle(self) -> int:
        """After so many samples every part has had its weight of them."""
        return self._ends[-1]

    def place(self, index: int) -> tuple[int, int]:
        """(part, index in the part): each part's indices are used in some order, none twice."""
        turn, position = divmod(index, self.cycle)
        drawn = self._cycle_order(turn)[position]
        part = bisect_right(self._ends, drawn)
        offset = drawn - (self._ends[part] - self._weights[part])
        return part, turn * self._weights[part] + offset

    def longest_prefix(self, counts: Sequence[int]) -> int:
        """How many leading indices there are until one is beyond what its part has."""
        turns = min(count // weight for count, weight in zip(counts, self._weights, strict=True))
        index = turns * self.cycle
        while True:
            part, within = self.place(index)
            if within >= counts[part]:
                return index
            index += 1

    def _make_cycle_order(self, turn: int) -> Permutation:
        return Permutation(self.cycle, self._shuffle_seed, f"mixture {turn}")


class MixedSamples:
    """Samples of several corpora; held-out ones come in the same shares."""

    def __init__(self, parts: Sequence[Part], shuffle_seed: int) -> None:
        self._parts = parts
        self._mixing = Mixing([part.weight for part in parts], shuffle_seed)
        self._manifest = _join([(part.name, part.samples.manifest) for part in parts])
        counts = [part.samples.heldout_count for part in parts]
        self._heldout_count = self._mixing.longest_prefix(counts)

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def heldout_count(self) -> int:
        return self._heldout_count

    def train_samples(self, batch: BatchInterval) -> Samples:
        """The samples with the indices of a batch."""
        return self._gather(range(batch.start, batch.end), is_heldout=False)

    def heldout_samples(self, start: int, count: int) -> Samples:
        """Up to `count` samples that no training index ever reaches."""
        end = min(start + count, self.heldout_count)
        return self._gather(range(start, max(start, end)), is_heldout=True)

    def _gather(self, indices: range, *, is_heldout: bool) -> Samples:
        places = [self._mixing.place(index) for index in indices]
        rows: dict[int, np.ndarray] = {}
        for number, part in enumerate(self._parts):
            wanted = [(row, within) for row, (one, within) in enumerate(places) if one == number]
            rows |= _read(part.samples, wanted, is_heldout=is_heldout)
        if not rows:
            return self._parts[0].samples.heldout_samples(0, 0)
        return np.stack([rows[row] for row in range(len(places))])


def _read(
    samples: SampleSource, wanted: list[tuple[int, int]], *, is_heldout: bool
) -> dict[int, np.ndarray]:
    """The samples of one part by the rows they go to, read in as few runs as they form."""
    rows: dict[int, np.ndarray] = {}
    by_index = sorted(wanted, key=lambda one: one[1])
    start = 0
    while start < len(by_index):
        end, first = start + 1, by_index[start][1]
        while end < len(by_index) and by_index[end][1] == first + end - start:
            end += 1
        count = end - start
        run = (
            samples.heldout_samples(first, count)
            if is_heldout
            else samples.train_samples(BatchInterval(first, first + count))
        )
        rows |= {row: tokens for (row, _), tokens in zip(by_index[start:end], run, strict=True)}
        start = end
    return rows


def _join(manifests: Sequence[tuple[str, Manifest]]) -> Manifest:
    """One manifest over all parts: every file under its part's name."""
    encodings = ", ".join(f"{name} {manifest.encoding}" for name, manifest in manifests)
    entries = tuple(
        replace(entry, name=f"{name}/{entry.name}")
        for name, manifest in manifests
        for entry in manifest.entries
    )
    return Manifest(f"mixture ({encodings})", entries)
