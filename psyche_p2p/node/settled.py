"""What the log has settled: each round's accepted updates, and the parameter roots agreed on."""

from __future__ import annotations

from collections.abc import Mapping

from psyche_p2p.coordinator import State
from psyche_p2p.ids import ParamRoot, RoundIndex
from psyche_p2p.wire.records import ClosedRound

_KEPT_ROOTS = 4096


class Settled:
    """Read off the log block by block; what is older than our snapshots is forgotten."""

    def __init__(self) -> None:
        self._rounds: dict[RoundIndex, ClosedRound] = {}
        self._roots: dict[RoundIndex, tuple[ParamRoot, ...]] = {}
        self.closed_count = RoundIndex(0)
        """How many rounds are settled."""

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
        if state.param_round not in self._roots:
            self._roots[state.param_round] = state.param_roots
            if len(self._roots) > _KEPT_ROOTS:
                del self._roots[next(iter(self._roots))]

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
