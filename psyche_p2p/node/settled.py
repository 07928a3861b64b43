"""What the log has settled: each round's accepted updates, and the parameter roots agreed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psyche_p2p.coordinator import State
from psyche_p2p.ids import BlockHash, EpochIndex, Height, ParamRoot, RoundIndex
from psyche_p2p.wire.records import ClosedRound

_KEPT_ROOTS = 512


@dataclass(frozen=True, slots=True)
class Agreement:
    """That these are the run's parameters after so many rounds, and where the log says so."""

    height: Height
    block_hash: BlockHash
    epoch: EpochIndex
    roots: tuple[ParamRoot, ...]
    first_sample: int
    """The first sample of the data that these parameters have not been trained on."""


class Settled:
    """Read off the log block by block; what is older than our snapshots is forgotten."""

    def __init__(self) -> None:
        self._rounds: dict[RoundIndex, ClosedRound] = {}
        self._roots: dict[RoundIndex, tuple[ParamRoot, ...]] = {}
        self._agreements: dict[RoundIndex, Agreement] = {}
        self._first_samples: dict[RoundIndex, int] = {}
        self.closed_count = RoundIndex(0)
        """How many rounds are settled."""
        self.beginning = RoundIndex(0)
        """How many rounds the run's first parameters have had."""

    @property
    def agreed_roots(self) -> Mapping[RoundIndex, tuple[ParamRoot, ...]]:
        """By how many rounds the parameters have had."""
        return self._roots

    def on_state(self, state: State) -> None:
        """Note what a block settled; call for the first state and then after every block."""
        self.closed_count = state.closed_count
        if state.closed_rounds:
            closed = state.closed_rounds[-1]
            self._rounds[closed.round] = closed
        self._note_samples(state)
        if not self._roots:
            self.beginning = state.param_round
        if state.param_round not in self._roots:
            self._roots[state.param_round] = state.param_roots
            self._agreements[state.param_round] = self._agreement(state)
            for table in (self._roots, self._agreements):
                if len(table) > _KEPT_ROOTS:
                    del table[next(iter(table))]

    def agreement(self, param_round: RoundIndex) -> Agreement | None:
        """Where the log agrees on the parameters after so many rounds; None if it does not."""
        return self._agreements.get(param_round)

    @property
    def agreed_through(self) -> RoundIndex:
        """The latest parameters that the log agrees on."""
        return next(reversed(self._agreements), RoundIndex(0))

    def _agreement(self, state: State) -> Agreement:
        return Agreement(
            state.height,
            state.block_hash,
            state.epoch,
            state.param_roots,
            self._first_samples[state.param_round],
        )

    def _note_samples(self, state: State) -> None:
        """Where in the data each round begins; that of a round not yet opened is known as well."""
        self._first_samples[state.next_round] = state.data_index
        for opened in state.open_rounds:
            starts = (slot.batch.start for slot in opened.slots)
            self._first_samples.setdefault(opened.round, min(starts, default=state.data_index))
        while len(self._first_samples) > _KEPT_ROOTS:
            del self._first_samples[next(iter(self._first_samples))]

    @property
    def first_round(self) -> RoundIndex:
        """The earliest parameters from which on every update is known here."""
        first = self.closed_count
        while first - 1 in self._rounds:
            first = RoundIndex(first - 1)
        return first

    def round(self, index: RoundIndex) -> ClosedRound | None:
        """The updates of a round, if it is settled and not forgotten."""
        return self._rounds.get(index)

    def forget_before(self, first: RoundIndex) -> None:
        self._rounds = {index: one for index, one in self._rounds.items() if index >= first}
