"""Contributions of others: fetched from whoever has them, checked against the log, kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from psyche_p2p.blobs import (
    BlobStore,
    Expectation,
    Origin,
    Reason,
    expect_run_targets,
    grid_entries,
    read_layout,
    read_update,
    validate_blob,
)
from psyche_p2p.blobs.validate import Flaw
from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.ids import BlobHash, EpochIndex, PeerId, RoundIndex, SchemaHash, Tier
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.swarm import Swarm
from psyche_p2p.node.directory import Directory
from psyche_p2p.optim.grids import make_grids
from psyche_p2p.train.update_format import codec_of
from psyche_p2p.wire import BlobKind, Commitment, TensorEntry
from psyche_p2p.wire.records import OpenRound, Slot

_NOTHING = Reason(Flaw.CONTENT, "it carries nothing: not one coefficient")


class BlobDesk:
    """Brings blobs here and says what is wrong with them."""

    def __init__(
        self,
        config: RunConfig,
        schema_hash: SchemaHash,
        store: BlobStore,
        swarm: Swarm,
        directory: Directory,
    ) -> None:
        self._config = config
        self._run_id = run_id(config)
        self._schema_hash = schema_hash
        self._store = store
        self._swarm = swarm
        self._directory = directory
        self._codec = codec_of(config)
        self._kept: set[tuple[BlobHash, RoundIndex]] = set()
        self._entries: dict[Tier, tuple[TensorEntry, ...]] = {}

    async def fetch(
        self, blob: BlobHash, round_index: RoundIndex, likely: Iterable[PeerId] = ()
    ) -> None:
        """Have a blob here for a round, from those who likely hold it or else from any member."""
        if (blob, round_index) not in self._kept:  # the store's lock may be held for a disk's sync
            await asyncio.to_thread(self.keep, blob, round_index)
        await self.fetch_once(blob, likely)

    async def fetch_once(self, blob: BlobHash, likely: Iterable[PeerId] = ()) -> None:
        """Have a blob here for a look; the store may drop it as soon as it needs the room."""
        first = list(likely)

        async def find_sources() -> list[Contact]:
            members = self._directory.members()
            preferred = [members[peer] for peer in first if peer in members]
            return preferred + [members[peer] for peer in members if peer not in first]

        await self._swarm.fetch(blob, find_sources)

    async def check(self, commitment: Commitment, opened: OpenRound, slot: Slot) -> list[Reason]:
        """Every reason to refuse a blob that is here as the contribution to a slot."""
        expected = self._expect(commitment, opened, slot)
        may_be_empty = opened.learning_rate_bits == 0
        return await asyncio.to_thread(
            self._check_now, commitment.blob_hash, expected, may_be_empty
        )

    async def check_targets(
        self, commitment: Commitment, epoch: EpochIndex, opened: OpenRound, teacher: PeerId
    ) -> list[Reason]:
        """Every reason to refuse a blob that is here as a teacher's targets for a batch."""
        origin = Origin(
            run_id=self._run_id,
            epoch=epoch,
            round=opened.round,
            tier=Tier(0),
            schema_hash=self._schema_hash,
            batch=commitment.batch,
            producer=teacher,
        )
        expected = expect_run_targets(
            self._config,
            origin,
            max_bytes=commitment.size_bytes,
            payload_hash=commitment.payload_hash,
        )
        return await asyncio.to_thread(
            lambda: validate_blob(self._store.read(commitment.blob_hash), expected)
        )

    def keep(self, blob: BlobHash, round_index: RoundIndex) -> None:
        """Do not let the store drop a blob before its round is forgotten."""
        self._store.pin(blob, round_index)
        self._kept.add((blob, round_index))

    def forget_before(self, round_index: RoundIndex) -> None:
        """Let the store drop what was kept for earlier rounds."""
        self._store.release_rounds(round_index)
        self._kept = {one for one in self._kept if one[1] >= round_index}

    def _check_now(self, blob: BlobHash, expected: Expectation, may_be_empty: bool) -> list[Reason]:
        data = self._store.read(blob)
        reasons = validate_blob(data, expected)
        if not reasons and not may_be_empty and not _carries_anything(data):
            return [_NOTHING]
        return reasons

    def _expect(self, commitment: Commitment, opened: OpenRound, slot: Slot) -> Expectation:
        return Expectation(
            max_bytes=commitment.size_bytes,
            kind=BlobKind.UPDATE,
            run_id=self._run_id,
            epoch=commitment.epoch,
            round=opened.round,
            batch=slot.batch,
            producer=slot.trainer,
            tier=slot.tier,
            schema_hash=self._schema_hash,
            codec=self._codec,
            tensors=self._tensors(slot.tier),
            tokens=slot.batch.size * self._config.data.sequence_length,
            payload_hash=commitment.payload_hash,
            vocab_size=None,
        )

    def _tensors(self, tier: Tier) -> tuple[TensorEntry, ...]:
        if tier not in self._entries:
            grids = make_grids(self._config.model, self._config.optimizer, tier)
            self._entries[tier] = grid_entries(grids.own)
        return self._entries[tier]


def _carries_anything(data: memoryview) -> bool:
    groups = read_update(read_layout(data)).coefficients.groups
    return any(group.counts.any() for group in groups)
