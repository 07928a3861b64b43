"""A peer without a model: it checks and attests what others send, and holds no parameters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from psyche_p2p.ids import ParamRoot, RoundIndex, Tier
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.settled import Settled
from psyche_p2p.train.messages import MakeTargets, TargetsMade, Train, Trained

_KEPT_ROUNDS = 64  # of updates, for those who come back and have to replay them


class NoParameters:
    """What `parameters.Parameters` is to a trainer, for a peer that only witnesses."""

    def __init__(self, settled: Settled, blobs: BlobDesk) -> None:
        self._settled = settled
        self._blobs = blobs
        self.on_change: Callable[[], None] = lambda: None

    @property
    def applied(self) -> RoundIndex:
        """A witness is never behind: it has nothing to apply."""
        return self._settled.closed_count

    def roots_at(self, _param_round: RoundIndex) -> tuple[ParamRoot, ...]:
        """It vouches for no root."""
        return ()

    def train(
        self, _command: Train, _is_wanted: Callable[[], bool], _done: Callable[[Trained], None]
    ) -> NoReturn:
        raise AssertionError("a witness is given no batches")

    def make_targets(
        self,
        _command: MakeTargets,
        _is_wanted: Callable[[], bool],
        _done: Callable[[TargetsMade], None],
    ) -> NoReturn:
        raise AssertionError("a witness teaches nobody")

    def catch_up(self) -> None:
        """Keep the updates of the last rounds, for those who need them."""
        first = RoundIndex(max(0, self._settled.closed_count - _KEPT_ROUNDS))
        self._settled.forget_before(first)
        self._blobs.forget_before(first)

    def compare_with_log(self) -> None:
        """It has nothing that could differ."""

    def store_for(self, _tiers: frozenset[Tier]) -> None:
        """It has nothing to store."""

    def evaluate_and_save(self, *, is_last: bool) -> None:
        """It has nothing to evaluate."""

    async def drain(self) -> None:
        """Nothing is ever waiting."""

    async def run(self) -> None:
        """Nothing to do, for as long as the peer lives."""
        await asyncio.Event().wait()
