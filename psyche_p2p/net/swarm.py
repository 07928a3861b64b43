"""Fetching blobs from everyone who has them, until they are here, whole and checked.

`SwarmPlan` decides, `Download` asks, checks and writes; this is what the node calls. What has been
written survives a restart of this peer, and no chunk is kept that is not what the blob's hash says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from psyche_p2p.blobs import BlobError, BlobStore, PartialBlob, decode_manifest
from psyche_p2p.clock import Clock
from psyche_p2p.errors import PsycheError, RemoteError, Unavailable
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.download import Download, FetchProgress, FindSources, OnProgress
from psyche_p2p.net.errors import Misbehaviour, NotHeld
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.net.sources import SourceBook
from psyche_p2p.net.swarm_plan import PlanRules
from psyche_p2p.net.watchdog import Watchdog
from psyche_p2p.wire import ChunkManifest

_log = get_logger(__name__)
_WRITERS = 2
_RETRY_S = 0.25
_LONGEST_RETRY_S = 2.0
_SILENT_S = 1.0  # for a manifest of a few kilobytes; then the next source is asked as well


@dataclass(frozen=True, slots=True)
class SwarmLimits:
    """What a download may cost."""

    max_blob_bytes: int
    deadline_s: float = 600.0


class Swarm:
    """Downloads of one peer; two requests for the same blob are one download."""

    def __init__(
        self,
        store: BlobStore,
        shelf: Shelf,
        client: BulkClient,
        clock: Clock,
        limits: SwarmLimits,
        rules: PlanRules | None = None,
    ) -> None:
        self.store = store
        self._shelf = shelf
        self._client = client
        self._clock = clock
        self._limits = limits
        self._rules = rules or PlanRules()
        self._running: dict[BlobHash, asyncio.Task[None]] = {}
        self._waiting: Counter[BlobHash] = Counter()
        self._abandoned: set[asyncio.Task[None]] = set()
        self.book = SourceBook()

    async def fetch(
        self,
        blob_hash: BlobHash,
        find_sources: FindSources,
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """Have the blob in the store.

        A StorageError if the disk refuses, a BlobError if no blob of that hash is acceptable;
        Unavailable, with everyone's reason, at the deadline (from now; None: the usual one), or
        whatever `find_sources` raises when it gives up.
        A caller that is cancelled leaves the download to others that wait for it; without any it
        ends, or whoever announces blobs that cannot be had would keep us asking for all of them.
        """
        task = self._running.get(blob_hash)
        if task is None:
            if self.store.has(blob_hash):
                return
            limit_s = self._limits.deadline_s if deadline_s is None else deadline_s
            task = asyncio.create_task(self._fetch(blob_hash, find_sources, on_progress, limit_s))
            self._running[blob_hash] = task
            task.add_done_callback(lambda ended: self._forget(blob_hash, ended))
        self._waiting[blob_hash] += 1
        try:
            await asyncio.shield(task)
        finally:
            self._waiting[blob_hash] -= 1
            if not self._waiting[blob_hash]:
                del self._waiting[blob_hash]
                self._abandon(blob_hash, task)

    def _abandon(self, blob_hash: BlobHash, task: asyncio.Task[None]) -> None:
        """Nobody waits any more: stop, and let whoever asks next begin with what has arrived."""
        if not task.done():
            self._forget(blob_hash, task)
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)
            task.cancel()

    def _forget(self, blob_hash: BlobHash, task: asyncio.Task[None]) -> None:
        if self._running.get(blob_hash) is task:
            del self._running[blob_hash]

    async def close(self) -> None:
        """Stop every download; what has arrived stays."""
        tasks = [*self._running.values(), *self._abandoned]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(
        self,
        blob_hash: BlobHash,
        find_sources: FindSources,
        on_progress: OnProgress | None,
        limit_s: float,
    ) -> None:
        if self._abandoned:  # one of them may still hold the file
            await asyncio.wait(set(self._abandoned))
        begun_at = self._clock.monotonic_s()
        deadline = begun_at + limit_s
        manifest, source = await self._find_manifest(blob_hash, find_sources, deadline)
        if len(manifest.chunks) == 1 and await self._take_at_once(manifest, blob_hash, source):
            if on_progress is not None:
                on_progress(FetchProgress(blob_hash, 1, 1, 1, source.peer))
            return
        writers = ThreadPoolExecutor(_WRITERS, "blob-writer")
        opening = writers.submit(self.store.receive, manifest)
        try:
            partial = await asyncio.wrap_future(opening)
            if partial is not None:
                self._shelf.share(blob_hash, partial)
                download = Download(
                    self._client,
                    partial,
                    blob_hash,
                    find_sources,
                    self.book,
                    self._rules,
                    self._clock,
                    writers,
                    on_progress,
                )
                await download.run(deadline)
                await asyncio.wrap_future(writers.submit(self.store.publish, partial))
        finally:
            # Waits, for two chunks at most: nobody may write to a file that has been closed.
            writers.shutdown(cancel_futures=True)
            self._shelf.unshare(blob_hash)
            _close(opening)
        took_s = self._clock.monotonic_s() - begun_at
        _log.debug("blob fetched", blob=short_id(blob_hash), seconds=round(took_s, 3))

    async def _take_at_once(
        self, manifest: ChunkManifest, blob_hash: BlobHash, source: Contact
    ) -> bool:
        """A blob of one chunk, from whoever gave its manifest; False if that did not do.

        Asking for holdings and planning would double the round trips of most updates.
        """
        began_s = self._clock.monotonic_s()
        try:
            with Watchdog(self._rules.stall_s):
                (data,) = [piece async for piece in self._client.fetch(source, blob_hash, [0])]
            await asyncio.to_thread(self._keep, manifest, data)
        except (BlobError, Misbehaviour) as error:
            self.book.note_lie(source.peer, str(error))
            return False
        except (RemoteError, Unavailable, asyncio.TimeoutError) as error:
            self.book.note_failure(source.peer, str(error), self._clock.monotonic_s())
            return False
        self.book.note_speed(source.peer, len(data), self._clock.monotonic_s() - began_s)
        return True

    def _keep(self, manifest: ChunkManifest, data: bytes) -> None:
        partial = self.store.receive(manifest)
        if partial is not None:
            with partial:
                partial.write_chunk(0, data)
                self.store.publish(partial)

    async def _find_manifest(
        self, blob_hash: BlobHash, find_sources: FindSources, deadline: float
    ) -> tuple[ChunkManifest, Contact]:
        """The blob's manifest, from the first source that gives it."""
        asked: dict[str, str] = {}
        pause_s = _RETRY_S
        while True:
            contacts, now = await find_sources(), self._clock.monotonic_s()
            usable = [one for one in contacts if self.book.is_usable(one.peer, now)]
            found = await self._ask_in_turn(usable, blob_hash)
            if found is not None:
                return found
            for contact in contacts:
                asked[short_id(contact.peer)] = self.book.explain(contact.peer)
            if self._clock.monotonic_s() >= deadline:
                reasons = "; ".join(f"peer {peer}: {why}" for peer, why in asked.items())
                cause = f"blob {short_id(blob_hash)}: {reasons or 'nobody is known to have it'}"
                raise Unavailable(cause, "try again")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RETRY_S)

    async def _ask_in_turn(
        self, contacts: Sequence[Contact], blob_hash: BlobHash
    ) -> tuple[ChunkManifest, Contact] | None:
        """The manifest from the first that gives it; who is silent holds up nobody for long."""
        waiting = list(reversed(contacts))
        asking: dict[asyncio.Task[ChunkManifest | None], Contact] = {}
        try:
            while waiting or asking:
                if waiting:
                    contact = waiting.pop()
                    asking[asyncio.create_task(self._ask_manifest(contact, blob_hash))] = contact
                patience_s = _SILENT_S if waiting else None
                done, _ = await asyncio.wait(
                    asking, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    contact, manifest = asking.pop(task), task.result()
                    if manifest is not None:
                        return manifest, contact
            return None
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _ask_manifest(self, contact: Contact, blob_hash: BlobHash) -> ChunkManifest | None:
        try:
            raw = await self._client.manifest(contact, blob_hash)
        except Misbehaviour as error:
            self.book.note_lie(contact.peer, str(error))
            return None
        except NotHeld:
            return None  # no fault of its own: for other blobs it is as good as before
        except PsycheError as error:
            self.book.note_failure(contact.peer, str(error), self._clock.monotonic_s())
            return None
        if hash_bytes(raw) != blob_hash:
            self.book.note_lie(contact.peer, "it gave a manifest that is not the blob's")
            return None
        # From here on it is the blob that is at fault, and every source would say the same.
        return decode_manifest(raw, blob_hash, self._limits.max_blob_bytes)


def _close(opening: Future[PartialBlob | None]) -> None:
    """Let go of a partial blob, even if nobody waited for it to be opened."""
    if opening.cancelled() or opening.exception() is not None:
        return
    partial = opening.result()
    if partial is not None:
        partial.close()
