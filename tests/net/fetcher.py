"""Alice, who fetches a blob of a few chunks from whomever a test gives her."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from psyche_p2p.blobs import SealedBlob
from psyche_p2p.clock import SystemClock
from psyche_p2p.ids import BlobHash
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.download import FetchProgress, OnProgress
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.net.swarm import Swarm, SwarmLimits
from psyche_p2p.net.swarm_plan import PlanRules
from tests.net.builders import make_blob, make_person, open_store

ALICE = make_person("alice")
CHUNKS = 6
BLOB = make_blob(CHUNKS)
HASTY = PlanRules(stall_s=0.3)


class Fetcher:
    """Alice's side: her store and what she fetches into it."""

    def __init__(
        self,
        folder: Path,
        client: BulkClient,
        *,
        deadline_s: float = 20.0,
        max_bytes: int = 1 << 30,
        max_blob_bytes: int = 1 << 30,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.store = open_store(folder / "alice", max_bytes)
        self.shelf = Shelf(self.store)
        limits = SwarmLimits(max_blob_bytes, deadline_s)
        self.swarm = Swarm(self.store, self.shelf, client, SystemClock(), limits, HASTY)
        self.progress: list[FetchProgress] = []
        self._on_progress = on_progress

    async def fetch(
        self, contacts: Sequence[Contact], blob_hash: BlobHash = BLOB.blob_hash
    ) -> None:
        async def find_sources() -> Sequence[Contact]:
            return contacts

        await self.swarm.fetch(blob_hash, find_sources, self._note)

    def _note(self, progress: FetchProgress) -> None:
        self.progress.append(progress)
        if self._on_progress is not None:
            self._on_progress(progress)

    def require_whole(self, blob: SealedBlob = BLOB) -> None:
        assert bytes(self.store.read(blob.blob_hash)) == b"".join(bytes(p) for p in blob.pieces)
