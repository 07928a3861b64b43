"""The driver of anti-entropy: asks the members the core chooses, over the bulk plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from psyche_p2p.clock import Clock
from psyche_p2p.errors import PsycheError
from psyche_p2p.ids import Height, PeerId, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.anti_entropy import AntiEntropy
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.statements import StatementPool
from psyche_p2p.wire import DecidedBlock

_log = get_logger(__name__)
FindMembers = Callable[[], Mapping[PeerId, Contact]]
OnBlocks = Callable[[PeerId, Sequence[DecidedBlock]], None]
OnHeight = Callable[[PeerId, Height], None]


class Reconciler:
    """Compares with one member after the other for as long as `run` runs."""

    def __init__(
        self,
        pool: StatementPool,
        core: AntiEntropy,
        client: BulkClient,
        clock: Clock,
        find_members: FindMembers,
        on_blocks: OnBlocks,
        on_height: OnHeight = lambda _peer, _height: None,
    ) -> None:
        self._pool = pool
        self._core = core
        self._client = client
        self._clock = clock
        self._find_members = find_members
        self._on_blocks = on_blocks
        self._on_height = on_height

    async def run(self) -> None:
        """Until cancelled; a member that fails costs one period."""
        while True:
            await self._wait_until_due()
            members = self._find_members()
            peer = self._core.on_due(sorted(members), self._clock.monotonic_s())
            if peer is not None:
                await self._compare_with(members[peer])

    async def _wait_until_due(self) -> None:
        due_at = self._core.next_deadline()
        if due_at is not None:
            await asyncio.sleep(max(0.0, due_at - self._clock.monotonic_s()))

    async def _compare_with(self, contact: Contact) -> None:
        try:
            await self._exchange(contact)
            self._core.on_success(contact.peer)
        except PsycheError as error:
            _log.debug("anti-entropy failed", peer=short_id(contact.peer), cause=str(error))
            self._core.on_failure(contact.peer, self._clock.monotonic_s())

    async def _exchange(self, contact: Contact) -> None:
        theirs = await self._client.compare(contact, self._pool.digest())
        exchange = self._core.on_digest(theirs)
        if exchange.first_block is not None:
            blocks = await self._client.log(contact, exchange.first_block, exchange.block_count)
            self._on_blocks(contact.peer, blocks)
        self._on_height(contact.peer, Height(theirs.height + 1))
        if exchange.pull is not None:
            wanted, envelopes = await self._client.pull(contact, exchange.pull)
            offered = self._core.on_pulled(wanted, envelopes)
            if offered:
                await self._client.push(contact, offered)
