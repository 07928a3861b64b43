"""What teachers commit to, looked at by the committee and by the student it is for.

A witness fetches the targets of every student of a round that it is on the committee of, once, and
says so if they are not what the log and the configuration say they must be. Nothing is said of
targets that are good: nothing is applied that comes from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from psyche_p2p.blobs import BlobError
from psyche_p2p.config import DistillationConfig
from psyche_p2p.coordinator import Signed, State
from psyche_p2p.distill.schedule import needs_targets
from psyche_p2p.errors import StorageError, Unavailable
from psyche_p2p.ids import BatchInterval, BlobHash, PeerId, RoundIndex, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.intake import find_open_round
from psyche_p2p.observe import events
from psyche_p2p.wire import Commitment, Refusal
from psyche_p2p.wire.records import OpenRound

_log = get_logger(__name__)
_Targets: TypeAlias = tuple[RoundIndex, BatchInterval, PeerId, BlobHash]
Reason: TypeAlias = str
"""Why targets are refused; empty if they are good."""


class Examiner:
    """Looks at targets once; `refuse` is called with what a witness has to say of bad ones."""

    def __init__(
        self,
        me: PeerId,
        config: DistillationConfig,
        state: Callable[[], State],
        blobs: BlobDesk,
        refuse: Callable[[Refusal], None],
        emit: Callable[[events.Event], None],
    ) -> None:
        self._me = me
        self._config = config
        self._state = state
        self._blobs = blobs
        self._refuse = refuse
        self._emit = emit
        self._looks: dict[_Targets, asyncio.Task[Reason | None]] = {}
        self._refused: set[tuple[RoundIndex, BatchInterval]] = set()
        self._one_at_a_time = asyncio.Lock()  # decoding takes many times a blob's bytes

    def take(self, signed: Signed) -> None:
        """Look at a commitment if it is a teacher's, and we are on its round's committee."""
        commitment: Commitment = signed.message
        opened = find_open_round(self._state(), commitment.round)
        if opened is None or self._me == signed.sender or self._me not in opened.committee:
            return
        teachers = {(slot.batch, slot.teacher) for slot in opened.slots}
        is_asked = needs_targets(self._config, opened.round)
        if is_asked and (commitment.batch, signed.sender) in teachers:
            self.examine(signed, opened)

    def examine(self, signed: Signed, opened: OpenRound) -> asyncio.Task[Reason | None]:
        """What is wrong with a teacher's targets; None if they cannot be had."""
        one: Commitment = signed.message
        key = (opened.round, one.batch, signed.sender, one.blob_hash)
        if key not in self._looks:
            task = asyncio.create_task(self._examine(signed, opened), name="examine-targets")
            self._looks[key] = task
            task.add_done_callback(lambda done: self._after(key, done))
        return self._looks[key]

    def has_refused(self, round_index: RoundIndex, batch: BatchInterval) -> bool:
        """Whether we said that nobody can train this batch."""
        return (round_index, batch) in self._refused

    def forget_before(self, first: RoundIndex) -> None:
        """Nobody needs the targets of a closed round."""
        for key, task in list(self._looks.items()):
            if key[0] < first:
                del self._looks[key]
                task.cancel()
        self._refused = {one for one in self._refused if one[0] >= first}

    async def close(self) -> None:
        """Look at nothing any more."""
        tasks = list(self._looks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _after(self, key: _Targets, done: asyncio.Task[Reason | None]) -> None:
        """What could not be had may be there the next time."""
        is_settled = not done.cancelled() and done.exception() is None and done.result() is not None
        if not is_settled and self._looks.get(key) is done:
            del self._looks[key]

    async def _examine(self, signed: Signed, opened: OpenRound) -> Reason | None:
        commitment: Commitment = signed.message
        try:
            reason = await self._find_fault(signed, opened)
        except (Unavailable, StorageError) as error:
            _log.warning(
                "targets cannot be had",
                round=opened.round,
                teacher=short_id(signed.sender),
                cause=str(error),
            )
            return None
        if reason:
            self._name(signed, opened, f"targets for batch {commitment.batch}: {reason}")
        return reason

    async def _find_fault(self, signed: Signed, opened: OpenRound) -> Reason:
        commitment: Commitment = signed.message
        try:
            await self._blobs.fetch_once(commitment.blob_hash, (signed.sender,))
        except BlobError as error:  # whoever is asked, there is no acceptable blob of this hash
            return str(error)
        async with self._one_at_a_time:
            reasons = await self._blobs.check_targets(
                commitment, commitment.epoch, opened, signed.sender
            )
        return str(reasons[0]) if reasons else ""

    def _name(self, signed: Signed, opened: OpenRound, reason: Reason) -> None:
        commitment: Commitment = signed.message
        _log.warning(
            "a teacher's targets are no good",
            round=opened.round,
            teacher=signed.sender,
            reason=reason,
        )
        self._emit(events.Accused(signed.sender, f"round {opened.round}: {reason}"))
        if self._me in opened.committee:
            self._refused.add((opened.round, commitment.batch))
            self._refuse(
                Refusal(
                    commitment.epoch,
                    commitment.round,
                    commitment.batch,
                    signed.sender,
                    commitment.blob_hash,
                )
            )
