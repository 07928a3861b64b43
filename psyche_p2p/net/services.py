"""The methods of the bulk plane: blobs, the log, and the statements that peers compare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import grpc

from psyche_p2p.errors import StorageError, WireCode, WireError
from psyche_p2p.ids import MAX_TIER, BlobHash, Height, RunId, Tier, short_id
from psyche_p2p.net.chunk_cache import ChunkCache
from psyche_p2p.net.errors import NotHeld, UnknownRun
from psyche_p2p.net.handlers import Call, CallWrapper
from psyche_p2p.net.limits import Pace
from psyche_p2p.net.methods import (
    JOINER_SERVICE,
    MAX_BLOCKS_PER_CALL,
    MAX_CHUNKS_PER_CALL,
    MAX_HASHES_PER_CALL,
    MAX_PULLED_BYTES,
    MAX_PULLED_STATEMENTS,
    MEMBER_SERVICE,
    MIB,
)
from psyche_p2p.net.shelf import NOTHING, OpenBlob, Shelf
from psyche_p2p.wire import (
    MAX_ENVELOPE_BYTES,
    AntiEntropyDigest,
    DecidedBlock,
    decode,
    encode,
)
from psyche_p2p.wire.bulk import (
    BlobRequest,
    ChunkRange,
    ChunkRequest,
    DescribeRequest,
    HaveReply,
    HaveRequest,
    LogRequest,
    PullRequest,
    PushReply,
    RunDescription,
)

CACHED_BYTES = 64 << 20


class Statements(Protocol):
    """What a peer has heard and still needs: the node's, compared with others' (anti-entropy)."""

    def digest(self) -> AntiEntropyDigest:
        """Hashes of everything held."""

    def lacking(self, theirs: PullRequest) -> Sequence[bytes]:
        """The envelopes held here that are not in their sets."""

    def wanted(self, theirs: PullRequest) -> PullRequest:
        """What is in their sets and not held here."""

    def accept(self, envelope: bytes) -> bool:
        """Take a statement in; whether it was new. A WireError if it is not one."""


class Log(Protocol):
    """The decided blocks."""

    def blocks(self, first: Height, count: int) -> Sequence[DecidedBlock]:
        """Up to `count` blocks from a height on, as many as there are."""


class Described(Protocol):
    """The run that a peer is in, as it tells it to whoever asks."""

    @property
    def run_id(self) -> RunId:
        """The only run it describes."""

    def data_files(self) -> bytes:
        """The encoded manifest of the run's data, as this peer has it; empty without any."""

    def schema(self) -> bytes:
        """The encoded schema of the run's model, as this peer's software has it."""

    def describe(self, wanted: Tier | None) -> RunDescription:
        """What is known of it now; whoever asks may want parameters of a tier."""


class BlobMethods:
    """Have, Manifest and Fetch, over the blobs that this service may show."""

    def __init__(
        self,
        shelf: Shelf,
        is_shown: Callable[[BlobHash], bool],
        cache: ChunkCache | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._shelf = shelf
        self._is_shown = is_shown
        self._cache = cache or ChunkCache(CACHED_BYTES)
        self._pace = pace

    async def have(self, _: Call, request: bytes) -> bytes:
        hashes = decode(HaveRequest, request).blob_hashes
        if len(hashes) > MAX_HASHES_PER_CALL:
            raise _out_of_range(f"{len(hashes)} hashes, at most {MAX_HASHES_PER_CALL}")
        shown = frozenset(filter(self._is_shown, hashes))
        holdings = await asyncio.to_thread(
            lambda: [self._shelf.holding(one) if one in shown else NOTHING for one in hashes]
        )
        return encode(HaveReply(tuple(holdings)))

    async def manifest(self, _: Call, request: bytes) -> bytes:
        blob = await self._open(decode(BlobRequest, request).blob_hash)
        return encode(blob.manifest)

    async def fetch(self, call: Call, request: bytes) -> None:
        """Send the chunks in order, each read when the one before is on its way."""
        asked = decode(ChunkRequest, request)
        indices = list(expand_ranges(asked.ranges))
        blob = await self._open(asked.blob_hash)
        for index in indices:
            blob.require(index)
        try:
            for index in indices:
                chunk = await self._read(asked.blob_hash, blob, index)
                if self._pace is not None:
                    now = call.clock.monotonic_s()
                    await call.pause(self._pace.wait_s(asked.blob_hash, len(chunk), now))
                await call.send(chunk)
        except StorageError:
            self._shelf.forget(asked.blob_hash)
            raise

    async def _read(self, blob_hash: BlobHash, blob: OpenBlob, index: int) -> bytes:
        chunk = self._cache.get((blob_hash, index))
        if chunk is None:
            chunk = await asyncio.to_thread(blob.read, index)
            self._cache.put((blob_hash, index), chunk)
        return chunk

    async def _open(self, blob_hash: BlobHash) -> OpenBlob:
        if not self._is_shown(blob_hash):
            raise NotHeld("not a blob of this service")
        return await asyncio.to_thread(self._shelf.open, blob_hash)


class LogMethods:
    """The run's log, block by block."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def blocks(self, call: Call, request: bytes) -> None:
        asked = decode(LogRequest, request)
        count = min(asked.count, MAX_BLOCKS_PER_CALL)
        for offset in range(count):
            found = self._log.blocks(Height(asked.first_height + offset), 1)
            if not found:
                return
            await call.send(encode(found[0]))


class DescribeMethods:
    """Describe, DataFiles and Schema: what a newcomer must know before anything else."""

    def __init__(self, described: Described | None) -> None:
        self._described = described
        self._last: RunDescription | None = None
        self._encoded = b""

    async def describe(self, call: Call, request: bytes) -> None:
        asked = decode(DescribeRequest, request)
        if asked.tier is not None and asked.tier > MAX_TIER:
            raise _out_of_range(f"tier {asked.tier}, at most {MAX_TIER} is possible")
        described = self._require_in(asked.run_id)
        await _send_in_pieces(call, self._encode(described.describe(asked.tier)))

    async def data_files(self, call: Call, request: bytes) -> None:
        described = self._require_in(decode(DescribeRequest, request).run_id)
        await _send_in_pieces(call, described.data_files())

    async def schema(self, call: Call, request: bytes) -> None:
        described = self._require_in(decode(DescribeRequest, request).run_id)
        await _send_in_pieces(call, described.schema())

    def _require_in(self, run_id: RunId) -> Described:
        if self._described is None or self._described.run_id != run_id:
            raise UnknownRun(f"not in run {short_id(run_id)}")
        return self._described

    def _encode(self, description: RunDescription) -> bytes:
        """Encoded once for all callers until it changes: many may ask for a large genesis."""
        if description != self._last:
            self._last, self._encoded = description, encode(description)
        return self._encoded


class StatementMethods:
    """Compare, Pull and Push: how members bring each other up to date."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def compare(self, _: Call, request: bytes) -> bytes:
        decode(AntiEntropyDigest, request)
        return encode(self._statements.digest())

    async def pull(self, call: Call, request: bytes) -> None:
        asked = decode(PullRequest, request)
        await call.send(encode(self._statements.wanted(asked)))
        sent = 0
        for envelope in self._statements.lacking(asked):
            sent += len(envelope)
            if sent > MAX_PULLED_BYTES:
                return
            await call.send(envelope)

    async def push(self, call: Call) -> bytes:
        taken = seen = 0
        async for envelope in call.received():
            seen += 1
            if len(envelope) > MAX_ENVELOPE_BYTES or seen > MAX_PULLED_STATEMENTS:
                raise WireError(WireCode.TOO_LARGE, "more than one push may carry")
            taken += self._statements.accept(envelope)
        return encode(PushReply(taken, seen - taken))


def member_service(
    wrapper: CallWrapper,
    shelf: Shelf,
    log: Log,
    statements: Statements,
    described: Described | None = None,
    cache: ChunkCache | None = None,
    pace: Pace | None = None,
) -> grpc.GenericRpcHandler:
    """What members serve each other; without `described` the peer is in no run."""
    blobs, told = BlobMethods(shelf, lambda _: True, cache, pace), StatementMethods(statements)
    return grpc.method_handlers_generic_handler(
        MEMBER_SERVICE,
        {
            "Have": wrapper.unary(blobs.have),
            "Manifest": wrapper.unary(blobs.manifest),
            "Fetch": wrapper.stream(blobs.fetch),
            "Log": wrapper.stream(LogMethods(log).blocks),
            "Describe": wrapper.stream(DescribeMethods(described).describe),
            "Compare": wrapper.unary(told.compare),
            "Pull": wrapper.stream(told.pull),
            "Push": wrapper.intake(told.push),
        },
    )


def joiner_service(
    wrapper: CallWrapper,
    shelf: Shelf,
    log: Log,
    is_public: Callable[[BlobHash], bool],
    described: Described | None = None,
    cache: ChunkCache | None = None,
    pace: Pace | None = None,
) -> grpc.GenericRpcHandler:
    """What anyone may fetch to become a member: the run, its log, and the public blobs."""
    blobs, run = BlobMethods(shelf, is_public, cache, pace), DescribeMethods(described)
    return grpc.method_handlers_generic_handler(
        JOINER_SERVICE,
        {
            "Describe": wrapper.stream(run.describe),
            "DataFiles": wrapper.stream(run.data_files),
            "Schema": wrapper.stream(run.schema),
            "Have": wrapper.unary(blobs.have),
            "Manifest": wrapper.unary(blobs.manifest),
            "Fetch": wrapper.stream(blobs.fetch),
            "Log": wrapper.stream(LogMethods(log).blocks),
        },
    )


def expand_ranges(ranges: Sequence[ChunkRange]) -> Iterator[int]:
    """The chunks that ranges name; a WireError if they name none, or more than a call may."""
    total = sum(one.count for one in ranges)
    if not 0 < total <= MAX_CHUNKS_PER_CALL:
        raise _out_of_range(f"{total} chunks in a call, 1 to {MAX_CHUNKS_PER_CALL} are allowed")
    for one in ranges:
        yield from range(one.first, one.first + one.count)


async def _send_in_pieces(call: Call, encoded: bytes) -> None:
    for begin in range(0, len(encoded), MIB):
        await call.send(encoded[begin : begin + MIB])


def _out_of_range(cause: str) -> WireError:
    return WireError(WireCode.OUT_OF_RANGE, cause)
