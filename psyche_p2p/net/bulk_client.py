"""Calls to other peers' bulk services, over one TLS channel a peer, kept open and bounded."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Any, TypeVar

import grpc
from typing_extensions import Self

from psyche_p2p.certificate import TlsCertificate
from psyche_p2p.errors import WireError
from psyche_p2p.ids import BlobHash, Height, PeerId, RunId, Tier, short_id
from psyche_p2p.net.errors import Misbehaviour, Renewing, Unreachable, from_rpc_error
from psyche_p2p.net.methods import (
    JOINER_SERVICE,
    MAX_BLOCKS_PER_CALL,
    MAX_DESCRIPTION_PIECES,
    MAX_PULLED_STATEMENTS,
    MEMBER_SERVICE,
    channel_options,
)
from psyche_p2p.net.relay.address import is_relay_address
from psyche_p2p.net.relay.paths import RelayPaths
from psyche_p2p.net.tls import CHANNEL_TLS_OPTIONS, PinnedCertificate, channel_credentials
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.net.watchdog import Watchdog
from psyche_p2p.wire import AntiEntropyDigest, DecidedBlock, decode, encode
from psyche_p2p.wire.bulk import (
    BlobRequest,
    ChunkRange,
    ChunkRequest,
    DescribeRequest,
    HaveReply,
    HaveRequest,
    Holding,
    LogRequest,
    PullRequest,
    PushReply,
    RunDescription,
)
from psyche_p2p.wire.relay import RelayService

ItemT = TypeVar("ItemT")
MAX_CHANNELS = 128


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a peer listens, and the one certificate it may show."""

    certificate: PinnedCertificate
    address: str

    @property
    def peer(self) -> PeerId:
        return self.certificate.peer


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits."""

    answer_s: float = 10.0
    stall_s: float = 10.0
    """Between two messages of a stream."""


class BulkClient:
    """A member's calls to members, or (with no certificate of its own) a joiner's."""

    def __init__(
        self,
        own: TlsCertificate | None,
        patience: Patience,
        meter: TrafficMeter | None = None,
        paths: RelayPaths | None = None,
    ) -> None:
        """Without `paths`, peers behind relays are out of reach."""
        self._own = own
        self._paths = paths
        self._meter = meter or TrafficMeter()
        self._patience = patience
        self._service = JOINER_SERVICE if own is None else MEMBER_SERVICE
        self._channels: OrderedDict[tuple[str, bytes], grpc.aio.Channel] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def have(self, contact: Contact, hashes: Sequence[BlobHash]) -> tuple[Holding, ...]:
        """What the peer has of each of these blobs."""
        raw = await self._ask(contact, "Have", encode(HaveRequest(tuple(hashes))))
        holdings = self._decode(contact, HaveReply, raw).holdings
        if len(holdings) != len(hashes):
            raise _misbehaviour(contact, f"{len(holdings)} holdings for {len(hashes)} blobs")
        return holdings

    async def manifest(self, contact: Contact, blob_hash: BlobHash) -> bytes:
        """A blob's manifest, which the caller must check."""
        return await self._ask(contact, "Manifest", encode(BlobRequest(blob_hash)))

    async def fetch(
        self, contact: Contact, blob_hash: BlobHash, indices: Sequence[int]
    ) -> AsyncGenerator[bytes, None]:
        """Chunks of a blob in this order, which the caller must check; cancelled when left."""
        request = encode(ChunkRequest(blob_hash, tuple(compress_ranges(indices))))
        async with aclosing(self._stream(contact, "Fetch", request, len(indices))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def log(self, contact: Contact, first: Height, count: int) -> list[DecidedBlock]:
        """Decided blocks from a height on, as they were sent: the caller checks the chain."""
        request = encode(LogRequest(first, min(count, MAX_BLOCKS_PER_CALL)))
        received = self._stream(contact, "Log", request, min(count, MAX_BLOCKS_PER_CALL), False)
        return [self._decode(contact, DecidedBlock, raw) async for raw in received]

    async def describe(
        self, contact: Contact, run_id: RunId, tier: Tier | None = None
    ) -> RunDescription:
        """The run as the peer describes it, which the caller must check; UnknownRun if it cannot.

        With a tier, the peer learns that its parameters are wanted.
        """
        told = await self._ask_about(contact, "Describe", run_id, tier)
        return self._decode(contact, RunDescription, told)

    async def data_files(self, contact: Contact, run_id: RunId) -> bytes:
        """The encoded manifest of the data that the peer trains on, which the caller must check.

        UnknownRun if it is not in the run.
        """
        return await self._ask_about(contact, "DataFiles", run_id)

    async def schema(self, contact: Contact, run_id: RunId) -> bytes:
        """The encoded schema of the peer's model, which the caller must check.

        UnknownRun if it is not in the run.
        """
        return await self._ask_about(contact, "Schema", run_id)

    async def compare(self, contact: Contact, ours: AntiEntropyDigest) -> AntiEntropyDigest:
        """The peer's digest for ours."""
        raw = await self._ask(contact, "Compare", encode(ours))
        return self._decode(contact, AntiEntropyDigest, raw)

    async def pull(self, contact: Contact, ours: PullRequest) -> tuple[PullRequest, list[bytes]]:
        """What the peer lacks of ours, and the envelopes that we lack."""
        most = 1 + MAX_PULLED_STATEMENTS
        received = self._stream(contact, "Pull", encode(ours), most, False)
        wanted, envelopes = PullRequest(()), []
        is_first = True
        async for raw in received:
            if is_first:
                wanted, is_first = self._decode(contact, PullRequest, raw), False
            else:
                envelopes.append(raw)
        return wanted, envelopes

    async def push(self, contact: Contact, envelopes: Iterable[bytes]) -> PushReply:
        """Hand statements over: the second path beside gossip."""
        call = self._method(contact, "stream_unary", "Push")(
            self._counted(envelopes), timeout=self._patience.answer_s
        )
        with_errors = self._translated(contact, call)
        return self._decode(contact, PushReply, await with_errors)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        channels = [channel.close() for channel in self._channels.values()]
        self._channels.clear()
        await asyncio.gather(*channels, *self._closing)

    async def _ask_about(
        self, contact: Contact, method: str, run_id: RunId, tier: Tier | None = None
    ) -> bytes:
        request = encode(DescribeRequest(run_id, tier))
        pieces = self._stream(contact, method, request, MAX_DESCRIPTION_PIECES, False)
        return b"".join([piece async for piece in pieces])

    async def _ask(self, contact: Contact, method: str, request: bytes) -> bytes:
        try:
            return await self._ask_once(contact, method, request)
        except Renewing:
            return await self._ask_once(contact, method, request)

    async def _ask_once(self, contact: Contact, method: str, request: bytes) -> bytes:
        call = self._method(contact, "unary_unary", method)(
            request, timeout=self._patience.answer_s
        )
        self._meter.note_sent(len(request))
        answer: bytes = await self._translated(contact, call)
        self._meter.note_received(len(answer))
        return answer

    def _counted(self, envelopes: Iterable[bytes]) -> Iterator[bytes]:
        for envelope in envelopes:
            self._meter.note_sent(len(envelope))
            yield envelope

    async def _stream(
        self, contact: Contact, method: str, request: bytes, most: int, is_exact: bool = True
    ) -> AsyncGenerator[bytes, None]:
        """The messages of a stream: at most, or exactly, so many."""
        call = self._method(contact, "unary_stream", method)(request)
        self._meter.note_sent(len(request))
        count = 0
        try:
            with Watchdog(self._patience.stall_s) as watchdog:
                while (message := await call.read()) is not grpc.aio.EOF:
                    if count == most:
                        raise _misbehaviour(contact, f"more than the {most} messages asked for")
                    count += 1
                    self._meter.note_received(len(message))
                    watchdog.rest()  # what the caller does with it may take its time
                    yield message
                    watchdog.pat()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(short_id(contact.peer), error) from error
        except asyncio.TimeoutError as error:
            raise Unreachable(f"peer {short_id(contact.peer)}: {error}") from error
        finally:
            call.cancel()
        if is_exact and count < most:
            raise _misbehaviour(contact, f"{count} messages where {most} were asked for")

    async def _translated(self, contact: Contact, call: Awaitable[ItemT]) -> ItemT:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(short_id(contact.peer), error) from error

    def _decode(self, contact: Contact, message_type: type[ItemT], raw: bytes) -> ItemT:
        try:
            return decode(message_type, raw)
        except WireError as error:
            raise _misbehaviour(contact, str(error)) from error

    def _method(self, contact: Contact, kind: str, method: str) -> Any:
        return getattr(self._channel(contact), kind)(f"/{self._service}/{method}")

    def _channel(self, contact: Contact) -> grpc.aio.Channel:
        address = self._resolve(contact)
        key = (address, contact.certificate.fingerprint)
        channel = self._channels.pop(key, None)
        if channel is None:
            channel = grpc.aio.secure_channel(
                address,
                channel_credentials(contact.certificate, self._own),
                options=[*channel_options(), *CHANNEL_TLS_OPTIONS],
            )
        self._channels[key] = channel
        if len(self._channels) > MAX_CHANNELS:
            self._retire(self._channels.popitem(last=False)[1])
        return channel

    def _resolve(self, contact: Contact) -> str:
        if self._paths is None:
            return require_direct(contact)
        service = RelayService.JOINERS if self._own is None else RelayService.MEMBERS
        return self._paths.resolve(contact.address, contact.peer, service)

    def _retire(self, channel: grpc.aio.Channel) -> None:
        """Close a channel once its calls have ended."""
        task = asyncio.create_task(channel.close(grace=self._patience.stall_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def require_direct(contact: Contact) -> str:
    """The contact's address; Unreachable if it leads through a relay."""
    if is_relay_address(contact.address):
        raise Unreachable(f"peer {short_id(contact.peer)} can be reached only through a relay")
    return contact.address


def compress_ranges(indices: Sequence[int]) -> list[ChunkRange]:
    """The same chunks in the same order, as runs."""
    runs = groupby(enumerate(indices), lambda pair: pair[1] - pair[0])
    spans = ([index for _, index in run] for _, run in runs)
    return [ChunkRange(span[0], len(span)) for span in spans]


def _misbehaviour(contact: Contact, cause: str) -> Misbehaviour:
    return Misbehaviour(f"peer {short_id(contact.peer)}: {cause}")
