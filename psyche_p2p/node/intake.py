"""What others contribute to the open rounds: fetched, looked at once, and held if it is good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from statistics import fmean
from typing import TypeAlias

from psyche_p2p.blobs import BlobError
from psyche_p2p.coordinator import Signed, State
from psyche_p2p.errors import StorageError, Unavailable
from psyche_p2p.ids import BatchInterval, BlobHash, PeerId, RoundIndex, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.observe import events
from psyche_p2p.wire import Commitment
from psyche_p2p.wire.records import OpenRound, Slot

_log = get_logger(__name__)
# by whomever: another may have committed to the same blob, and that is another matter
_Contribution: TypeAlias = tuple[PeerId, BlobHash]


class Intake:
    """Takes in commitments; `on_held` is called with the round of each that turns out good."""

    def __init__(
        self,
        state: Callable[[], State],
        blobs: BlobDesk,
        on_held: Callable[[RoundIndex], None],
        emit: Callable[[events.Event], None],
    ) -> None:
        self._state = state
        self._blobs = blobs
        self._on_held = on_held
        self._emit = emit
        self._holding: dict[RoundIndex, dict[tuple[BatchInterval, PeerId], Signed]] = {}
        self._fetching: dict[_Contribution, tuple[RoundIndex, asyncio.Task[None]]] = {}
        self._refused: dict[RoundIndex, set[_Contribution]] = {}
        self._spent: dict[RoundIndex, list[tuple[float, float]]] = {}

    def held(self, index: RoundIndex) -> list[Signed]:
        """The commitments to a round whose blobs are here and good, ours included."""
        return list(self._holding.get(index, {}).values())

    def mean_times_s(self, index: RoundIndex) -> tuple[float, float]:
        """How long it took to fetch, and then to check, what others contributed to a round."""
        fetched, checked = zip(*self._spent.get(index) or [(0.0, 0.0)], strict=True)
        return fmean(fetched), fmean(checked)

    def take(self, signed: Signed) -> None:
        """Get a blob and look at it; it is held once it is good."""
        commitment: Commitment = signed.message
        found = self._find_slot(signed)
        key = (signed.sender, commitment.blob_hash)
        if found is None or key in self._fetching:
            return
        if key in self._refused.get(commitment.round, ()):
            return
        if (commitment.batch, signed.sender) in self._holding.get(commitment.round, {}):
            return
        task = asyncio.create_task(self._take_in(signed, *found), name="take-in-blob")
        self._fetching[key] = commitment.round, task
        task.add_done_callback(lambda _: self._fetching.pop(key, None))

    def hold(self, signed: Signed) -> None:
        """Hold what is known to be good."""
        commitment: Commitment = signed.message
        held = self._holding.setdefault(commitment.round, {})
        held.setdefault((commitment.batch, signed.sender), signed)
        self._on_held(commitment.round)

    def forget_before(self, first: RoundIndex) -> None:
        """Drop what belongs to earlier rounds, and fetch on only what they accepted."""
        rounds = self._state().closed_rounds
        accepted = {one.blob_hash for closed in rounds for one in closed.accepted}
        for (_, blob_hash), (index, task) in list(self._fetching.items()):
            if index < first and blob_hash not in accepted:
                task.cancel()
        self._holding = {k: v for k, v in self._holding.items() if k >= first}
        self._refused = {k: v for k, v in self._refused.items() if k >= first}
        self._spent = {k: v for k, v in self._spent.items() if k >= first}

    async def close(self) -> None:
        """Stop fetching."""
        tasks = [task for _, task in self._fetching.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_in(self, signed: Signed, opened: OpenRound, slot: Slot) -> None:
        commitment: Commitment = signed.message
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            await self._blobs.fetch(commitment.blob_hash, commitment.round, (signed.sender,))
            fetched_s = clock()
            reasons = await self._blobs.check(commitment, opened, slot)
        except (Unavailable, StorageError) as error:
            _log.warning(
                "a contribution cannot be had",
                round=commitment.round,
                trainer=short_id(signed.sender),
                cause=str(error),
            )
            return
        except BlobError as error:
            self._refuse(signed, str(error))
            return
        if reasons:
            self._refuse(signed, str(reasons[0]))
        else:
            spent = self._spent.setdefault(commitment.round, [])
            spent.append((fetched_s - began_s, clock() - fetched_s))
            self.hold(signed)

    def _refuse(self, signed: Signed, reason: str) -> None:
        """Never to be looked at again: what is wrong with a blob will not get better."""
        commitment: Commitment = signed.message
        refused = self._refused.setdefault(commitment.round, set())
        refused.add((signed.sender, commitment.blob_hash))
        _log.warning(
            "a contribution is invalid",
            round=commitment.round,
            trainer=signed.sender,
            reason=reason,
        )
        self._emit(events.Accused(signed.sender, f"round {commitment.round}: {reason}"))

    def _find_slot(self, signed: Signed) -> tuple[OpenRound, Slot] | None:
        commitment: Commitment = signed.message
        opened = find_open_round(self._state(), commitment.round)
        if opened is None or commitment.epoch != self._state().epoch:
            return None
        for slot in opened.slots:
            if (slot.batch, slot.trainer) == (commitment.batch, signed.sender):
                return opened, slot
        return None


def find_open_round(state: State, index: RoundIndex | int) -> OpenRound | None:
    """The round of this index, if it is open."""
    return next((one for one in state.open_rounds if one.round == index), None)
