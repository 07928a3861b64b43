"""Samples of a corpus: which tokens a sample index stands for, and which are never trained on.

The corpus is cut into slots of `sequence_length` tokens; a sample is a slot and the one token after
it, so that every token of the slot has a successor to predict. A permutation of the slots puts the
held-out ones last. Training indices count on for ever: each pass over the training slots has its
own order. No order is ever stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from psyche_p2p.config import DataConfig
from psyche_p2p.data.builtin import STDLIB, load_stdlib
from psyche_p2p.data.manifest import Manifest, require_manifest
from psyche_p2p.data.permutation import Permutation
from psyche_p2p.errors import DataError
from psyche_p2p.ids import BatchInterval

Samples = npt.NDArray[np.int64]


class SampleSource(Protocol):
    """Where a trainer gets its samples; arrays are [samples, sequence_length + 1]."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def heldout_count(self) -> int: ...

    def train_samples(self, batch: BatchInterval) -> Samples: ...

    def heldout_samples(self, start: int, count: int) -> Samples: ...


class TokenSamples:
    """Samples of tokens in memory or in a mapped file."""

    def __init__(
        self,
        manifest: Manifest,
        tokens: npt.NDArray[np.integer],
        sequence_length: int,
        shuffle_seed: int,
        heldout_fraction: float,
    ) -> None:
        slots = (len(tokens) - 1) // sequence_length
        heldout = max(1, int(slots * heldout_fraction)) if heldout_fraction > 0 else 0
        if slots - heldout < 1:
            raise DataError(
                f"{len(tokens)} tokens are too few for samples of {sequence_length}",
                "use more text or a shorter data.sequence_length",
            )
        self._manifest = manifest
        self._tokens = tokens
        self._sequence_length = sequence_length
        self._shuffle_seed = shuffle_seed
        self._slots = Permutation(slots, shuffle_seed, "slots")
        self.train_count = slots - heldout
        self.heldout_count = heldout
        self._pass_order = lru_cache(maxsize=2)(self._make_pass_order)

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def train_samples(self, batch: BatchInterval) -> Samples:
        """The samples with the indices of a batch."""
        return self._gather(self._train_slot(index) for index in range(batch.start, batch.end))

    def heldout_samples(self, start: int, count: int) -> Samples:
        """Up to `count` samples that no training index ever reaches."""
        end = min(start + count, self.heldout_count)
        return self._gather(self._slots[self.train_count + index] for index in range(start, end))

    def _train_slot(self, index: int) -> int:
        turn, position = divmod(index, self.train_count)
        return self._slots[self._pass_order(turn)[position]]

    def _make_pass_order(self, turn: int) -> Permutation:
        return Permutation(self.train_count, self._shuffle_seed, f"pass {turn}")

    def _gather(self, slots: Iterable[int]) -> Samples:
        length = self._sequence_length
        rows = [self._tokens[slot * length : slot * length + length + 1] for slot in slots]
        if not rows:
            return np.empty((0, length + 1), dtype=np.int64)
        return np.stack(rows).astype(np.int64)


def bytes_as_samples(manifest: Manifest, text: bytes, config: DataConfig) -> TokenSamples:
    """Samples of text, one token a byte."""
    return TokenSamples(
        manifest,
        np.frombuffer(text, dtype=np.uint8),
        config.sequence_length,
        config.shuffle_seed,
        config.heldout_fraction,
    )


def load_builtin_samples(config: DataConfig) -> TokenSamples:
    """The samples of `data.provider = "builtin"`, checked against the run's manifest."""
    if config.source != STDLIB:
        raise DataError(f"there is no built-in text {config.source!r}", f"use {STDLIB!r}")
    manifest, text = load_stdlib()
    require_manifest(
        manifest, config.manifest, "use the same Python version and distribution as the run"
    )
    return bytes_as_samples(manifest, text, config)
