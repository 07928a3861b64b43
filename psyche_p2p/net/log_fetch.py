"""The run's log from several peers at once, each block checked before anyone sees it.

`LogPlan` decides whom to ask for what; this asks, checks, and says how far it is and who was
dropped, and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from psyche_p2p.errors import RemoteError, Unavailable
from psyche_p2p.ids import Height, PeerId, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.errors import Misbehaviour
from psyche_p2p.net.log_plan import LogOrder, LogPlan
from psyche_p2p.wire import DecidedBlock

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BlockFetched:
    """A block was checked; `sources` peers are still being asked for those after it."""

    height: Height
    sources: int


@dataclass(frozen=True, slots=True)
class SourceDropped:
    """A peer will be asked for no more of the log: it lied, or failed too often."""

    peer: PeerId
    reason: str
    has_lied: bool


LogEvent = BlockFetched | SourceDropped
Check = Callable[[DecidedBlock], None]
"""Takes in the next block (`verify_chain` of it alone), or raises a RemoteError: it is not it."""


async def fetch_log(
    client: BulkClient,
    contacts: Sequence[Contact],
    first_height: Height,
    check: Check,
    on_event: Callable[[LogEvent], None] | None = None,
) -> AsyncGenerator[DecidedBlock, None]:
    """Decided blocks in order from a height on, each after `check` took it.

    Ends when no contact that answers has more; Unavailable, with everyone's reason, if none is
    left to say so.
    Close it (`aclosing`) when leaving early.
    """
    fetch = _LogFetch(client, contacts, first_height, on_event)
    try:
        while (found := await fetch.next_block()) is not None:
            source, decided = found
            try:
                check(decided)
            except RemoteError as error:
                fetch.drop(source, str(error), has_lied=True)
                continue
            fetch.advance()
            yield decided
            await asyncio.sleep(0)  # checking is work: others must come to theirs
    finally:
        await fetch.close()


class _LogFetch:
    """The asking: one task for each order of the plan."""

    def __init__(
        self,
        client: BulkClient,
        contacts: Sequence[Contact],
        first_height: Height,
        on_event: Callable[[LogEvent], None] | None,
    ) -> None:
        self._client = client
        self._contacts = {contact.peer: contact for contact in contacts}
        self._plan = LogPlan.begin(first_height, self._contacts)
        self._on_event = on_event
        self._asking: dict[PeerId, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    async def next_block(self) -> tuple[PeerId, DecidedBlock] | None:
        """The next block, not yet checked, and who gave it; None where the log ends."""
        plan = self._plan
        while True:
            self._start_orders()
            found = plan.peek()
            if found is not None:
                return found
            now = asyncio.get_running_loop().time()
            if plan.is_over(now):
                break
            await self._wait(plan.next_deadline(now))
        if not plan.sources:
            cause = plan.explain() or "nobody is known to have it"
            raise Unavailable(
                f"the log from height {plan.next_height} on: {cause}", "try again with other peers"
            )
        return None

    def advance(self) -> None:
        """The next block was good."""
        height = self._plan.next_height
        self._plan.advance()
        self._tell(BlockFetched(height, len(self._plan.sources)))

    def drop(self, peer: PeerId, reason: str, *, has_lied: bool) -> None:
        """Ask this peer no more."""
        self._plan.drop(peer, reason)
        self._note_dropped(peer, has_lied=has_lied)

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_orders(self) -> None:
        for order in self._plan.next_orders(asyncio.get_running_loop().time()):
            self._asking[order.source] = asyncio.create_task(self._carry_out(order))

    async def _wait(self, until: float | None) -> None:
        """Until an answer is there, or a source may be asked again."""
        alarm = None
        if until is not None:
            alarm = asyncio.get_running_loop().call_at(until, self._news.set)
        try:
            await self._news.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
        self._news.clear()

    async def _carry_out(self, order: LogOrder) -> None:
        peer, plan = order.source, self._plan
        try:
            blocks = await self._client.log(self._contacts[peer], order.first, order.count)
            plan.on_blocks(order, blocks)
            self._note_dropped(peer, has_lied=True)
        except RemoteError as error:
            self.drop(peer, str(error), has_lied=isinstance(error, Misbehaviour))
        except Unavailable as error:
            plan.on_failure(peer, str(error), asyncio.get_running_loop().time())
            self._note_dropped(peer, has_lied=False)
        finally:
            self._news.set()

    def _note_dropped(self, peer: PeerId, *, has_lied: bool) -> None:
        reason = self._plan.dropped.get(peer)
        if reason is None or self._contacts.pop(peer, None) is None:
            return
        task = self._asking.get(peer)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        _log.warning("source of the log dropped", peer=short_id(peer), cause=reason)
        self._tell(SourceDropped(peer, reason, has_lied))

    def _tell(self, event: LogEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)
