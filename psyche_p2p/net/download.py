"""One blob on its way: asks whom the plan says, checks and writes what comes, drops who fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass

from psyche_p2p.blobs import CHUNK_BYTES, BlobError, PartialBlob
from psyche_p2p.clock import Clock
from psyche_p2p.errors import PsycheError, RemoteError, StorageError, Unavailable
from psyche_p2p.ids import BlobHash, PeerId, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.errors import Misbehaviour, NotHeld
from psyche_p2p.net.sources import SourceBook
from psyche_p2p.net.swarm_plan import Order, PlanRules, SwarmPlan
from psyche_p2p.wire.bulk import Holding

_log = get_logger(__name__)
FindSources = Callable[[], Awaitable[Sequence[Contact]]]
REFRESH_S = 1.0
MAX_SOURCES = 16


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a download is."""

    blob_hash: BlobHash
    chunks_here: int
    chunks_total: int
    sources: int
    source: PeerId
    """Who gave the last chunk."""


OnProgress = Callable[[FetchProgress], None]


class Download:
    """Fills one partial blob; `run` returns when nothing is missing."""

    def __init__(
        self,
        client: BulkClient,
        partial: PartialBlob,
        blob_hash: BlobHash,
        find_sources: FindSources,
        book: SourceBook,
        rules: PlanRules,
        clock: Clock,
        writers: Executor,
        on_progress: OnProgress | None,
    ) -> None:
        self._client = client
        self._partial = partial
        self._blob_hash = blob_hash
        self._find_sources = find_sources
        self._book = book
        self._clock = clock
        self._writers = writers
        self._on_progress = on_progress
        chunk_bytes = min(CHUNK_BYTES, partial.manifest.size_bytes)
        self._plan = SwarmPlan(chunk_bytes, partial.missing(), book, rules)
        self._contacts: dict[PeerId, Contact] = {}
        self._fetching: dict[int, asyncio.Task[None]] = {}
        self._asking: dict[PeerId, asyncio.Task[None]] = {}
        self._failure: StorageError | None = None
        self._wake = asyncio.Event()

    async def run(self, deadline: float) -> None:
        """Fetch what is missing; StorageError if the disk refuses, Unavailable at the deadline."""
        refreshing = asyncio.create_task(self._refresh())
        try:
            while not self._plan.is_complete:
                self._start_orders()
                await self._wait(deadline, refreshing)
                self._drop_stalled()
        finally:
            tasks = [refreshing, *self._fetching.values(), *self._asking.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def explain(self) -> str:
        """What is missing and why nobody gives it."""
        reasons = [f"peer {short_id(peer)}: {self._book.explain(peer)}" for peer in self._contacts]
        missing = f"{len(self._plan.missing)} of {len(self._partial.manifest.chunks)} chunks"
        return f"{missing} are missing: {'; '.join(reasons) or 'nobody is known to have them'}"

    def _start_orders(self) -> None:
        for order in self._plan.next_orders(self._clock.monotonic_s()):
            self._fetching[order.number] = asyncio.create_task(self._carry_out(order))

    async def _wait(self, deadline: float, refreshing: asyncio.Task[None]) -> None:
        """Until there is news, a source stalls, or the deadline has come."""
        now = self._clock.monotonic_s()
        if now >= deadline:
            raise Unavailable(f"blob {short_id(self._blob_hash)}: {self.explain()}", "try again")
        stalls_at = self._plan.next_deadline()
        until = deadline if stalls_at is None else min(stalls_at, deadline)
        # Not `wait_for`: before Python 3.12 it can swallow a cancellation that comes with the news.
        alarm = asyncio.get_running_loop().call_later(max(0.0, until - now), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()
        self._wake.clear()
        if self._failure is not None:
            raise self._failure
        if refreshing.done():
            refreshing.result()  # it only ends by failing

    async def _refresh(self) -> None:
        """Look for holders now and then: new ones come, and those on their way get more."""
        try:
            while True:
                now = self._clock.monotonic_s()
                for contact in await self._find_sources():
                    self._introduce(contact, now)
                await asyncio.sleep(REFRESH_S)
        finally:
            self._wake.set()

    def _introduce(self, contact: Contact, now: float) -> None:
        peer = contact.peer
        is_new = peer not in self._contacts and len(self._contacts) < MAX_SOURCES
        if not (is_new or peer in self._contacts) or not self._book.is_usable(peer, now):
            return
        self._contacts[peer] = contact
        if peer not in self._asking and not self._plan.has_all(peer):
            self._asking[peer] = asyncio.create_task(self._ask(contact))

    async def _ask(self, contact: Contact) -> None:
        """Learn which chunks a source has."""
        try:
            (holding,) = await self._client.have(contact, [self._blob_hash])
            if holding.chunk_count:
                self._plan.add_source(contact.peer, self._held_chunks(holding))
        except PsycheError as error:
            self._book.note_failure(contact.peer, str(error), self._clock.monotonic_s())
        finally:
            self._asking.pop(contact.peer, None)
            self._wake.set()

    def _held_chunks(self, holding: Holding) -> set[int] | None:
        """The chunks of a holding; None for all of them."""
        count = len(self._partial.manifest.chunks)
        bits = int.from_bytes(holding.chunks[: -(-count // 8)], "little") & ((1 << count) - 1)
        if bits == (1 << count) - 1:
            return None
        return {index for index in range(count) if bits >> index & 1}

    async def _carry_out(self, order: Order) -> None:
        """Fetch an order's chunks, writing each while the next one comes."""
        contact, peer = self._contacts[order.source], order.source
        try:
            await self._receive(order, contact)
        except (BlobError, Misbehaviour) as error:
            _log.warning("source lied", peer=short_id(peer), cause=str(error))
            self._book.note_lie(peer, f"it sent what is {error}")
            self._drop(peer)
        except StorageError as error:
            self._failure = error
        except NotHeld:
            self._drop(peer)  # asked again at the next look, and for other blobs at once
        except (RemoteError, Unavailable) as error:
            self._fail(peer, str(error))
        finally:
            self._plan.close_order(order.number)
            self._fetching.pop(order.number, None)
            self._wake.set()

    async def _receive(self, order: Order, contact: Contact) -> None:
        writing: asyncio.Future[None] | None = None
        incoming = self._client.fetch(contact, self._blob_hash, order.chunks)
        position = 0
        try:
            async with aclosing(incoming):
                async for data in incoming:
                    if writing is not None:
                        await writing
                        self._note_written(order, order.chunks[position - 1])
                    writing = self._start_writing(order.chunks[position], data)
                    position += 1
        finally:  # what came before the source failed is as good as the rest
            if writing is not None:
                await writing
                self._note_written(order, order.chunks[position - 1])

    def _start_writing(self, chunk: int, data: bytes) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._writers, self._partial.write_chunk, chunk, data)

    def _note_written(self, order: Order, chunk: int) -> None:
        useless = self._plan.on_chunk(order.number, chunk, self._clock.monotonic_s())
        for number in useless:
            if number != order.number and number in self._fetching:
                self._fetching[number].cancel()
        if self._on_progress is not None:
            total = len(self._partial.manifest.chunks)
            here = total - len(self._plan.missing)
            sources = len(self._plan.sources())
            progress = FetchProgress(self._blob_hash, here, total, sources, order.source)
            self._on_progress(progress)
        if useless:
            self._wake.set()

    def _drop_stalled(self) -> None:
        for order in self._plan.stalled(self._clock.monotonic_s()):
            self._fail(order.source, "it sent nothing for too long")

    def _fail(self, peer: PeerId, problem: str) -> None:
        self._book.note_failure(peer, problem, self._clock.monotonic_s())
        self._drop(peer)

    def _drop(self, peer: PeerId) -> None:
        current = asyncio.current_task()
        for number in self._plan.drop_source(peer):
            task = self._fetching.get(number)
            if task is not None and task is not current:
                task.cancel()
