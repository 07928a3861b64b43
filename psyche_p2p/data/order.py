"""The order in which slots of a corpus are seen: some held out, the others once in every pass.

A permutation of the slots puts the held-out ones last. Training indices count on for ever: each
pass over the training slots has its own order. No order is ever stored.
"""

from __future__ import annotations

from functools import lru_cache

from psyche_p2p.data.permutation import Permutation
from psyche_p2p.errors import DataError


class SlotOrder:
    """Which slot an index stands for."""

    def __init__(self, train_count: int, heldout_count: int, shuffle_seed: int) -> None:
        self.train_count = train_count
        self.heldout_count = heldout_count
        self._shuffle_seed = shuffle_seed
        self._slots = Permutation(train_count + heldout_count, shuffle_seed, "slots")
        self._pass_order = lru_cache(maxsize=2)(self._make_pass_order)

    @classmethod
    def split(
        cls, slots: int, heldout_fraction: float, shuffle_seed: int, too_few: DataError
    ) -> SlotOrder:
        """The order of so many slots; `too_few` is raised if none would be left to train on."""
        heldout = max(1, int(slots * heldout_fraction)) if heldout_fraction > 0 else 0
        if slots - heldout < 1:
            raise too_few
        return cls(slots - heldout, heldout, shuffle_seed)

    def train_slot(self, index: int) -> int:
        turn, position = divmod(index, self.train_count)
        return self._slots[self._pass_order(turn)[position]]

    def heldout_slot(self, index: int) -> int:
        """A slot that no training index ever reaches."""
        return self._slots[self.train_count + index]

    def _make_pass_order(self, turn: int) -> Permutation:
        return Permutation(self.train_count, self._shuffle_seed, f"pass {turn}")
