"""Samples of a corpus: which tokens a sample index stands for, and which are never trained on.

The corpus is cut into slots of `sequence_length` tokens; a sample is a slot and the one token after
it, so that every token of the slot has a successor to predict. `order` says which slot comes when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from psyche_p2p.config import DataConfig
from psyche_p2p.data.builtin import STDLIB, load_stdlib
from psyche_p2p.data.manifest import Manifest, require_manifest
from psyche_p2p.data.order import SlotOrder
from psyche_p2p.errors import DataError
from psyche_p2p.ids import BatchInterval

Samples = npt.NDArray[np.int64]
"""Token ids; one whose prediction does not count is there as `without_prediction(id)`."""


def without_prediction(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Mark tokens as ones that are read but not predicted: below zero, and its own inverse."""
    return ~tokens


PADDING = ~0
"""Token 0, not to be predicted: what comes after the end of a short sample."""


class SampleSource(Protocol):
    """Where a trainer gets its samples; arrays are [samples, sequence_length + 1]."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def heldout_count(self) -> int: ...

    def train_samples(self, batch: BatchInterval) -> Samples: ...

    def heldout_samples(self, start: int, count: int) -> Samples: ...


class TokenSequence(Protocol):
    """Tokens in a row: an array, or files that are read as one."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> npt.NDArray[np.integer]: ...


Fetch = Callable[[Sequence[slice]], None]
"""Told which spans are read next, all at once, so that they can be fetched together."""


class SlotSamples(ABC):
    """A corpus of slots, seen in the run's order; a subclass says what is in them."""

    def __init__(self, manifest: Manifest, order: SlotOrder, sequence_length: int) -> None:
        self._manifest = manifest
        self._order = order
        self._sequence_length = sequence_length

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def train_count(self) -> int:
        return self._order.train_count

    @property
    def heldout_count(self) -> int:
        return self._order.heldout_count

    def train_samples(self, batch: BatchInterval) -> Samples:
        """The samples with the indices of a batch."""
        indices = range(batch.start, batch.end)
        return self._gather([self._order.train_slot(index) for index in indices])

    def heldout_samples(self, start: int, count: int) -> Samples:
        """Up to `count` samples that no training index ever reaches."""
        end = min(start + count, self.heldout_count)
        return self._gather([self._order.heldout_slot(index) for index in range(start, end)])

    @abstractmethod
    def _gather(self, slots: Sequence[int]) -> Samples:
        """What is in these slots, a row each."""


class TokenSamples(SlotSamples):
    """Samples of tokens in memory, in mapped files, or on their way."""

    def __init__(
        self,
        manifest: Manifest,
        tokens: TokenSequence,
        sequence_length: int,
        shuffle_seed: int,
        heldout_fraction: float,
        fetch: Fetch = lambda _: None,
    ) -> None:
        cause = f"{len(tokens)} tokens are too few for samples of {sequence_length}"
        too_few = DataError(cause, "use more text or a shorter data.sequence_length")
        slots = (len(tokens) - 1) // sequence_length
        order = SlotOrder.split(slots, heldout_fraction, shuffle_seed, too_few)
        super().__init__(manifest, order, sequence_length)
        self._tokens = tokens
        self._fetch = fetch

    def _gather(self, slots: Sequence[int]) -> Samples:
        length = self._sequence_length
        spans = [slice(slot * length, slot * length + length + 1) for slot in slots]
        if not spans:
            return np.empty((0, length + 1), dtype=np.int64)
        self._fetch(spans)
        return np.stack([self._tokens[span] for span in spans]).astype(np.int64)


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
