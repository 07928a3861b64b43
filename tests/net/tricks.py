"""Members that are trusted and do not deserve it: servers whose Fetch lies, stalls, or stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count

import grpc

from psyche_p2p.net.handlers import Call, CallWrapper
from psyche_p2p.net.methods import MEMBER_SERVICE
from psyche_p2p.net.services import BlobMethods, Described, DescribeMethods, expand_ranges
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.wire import decode
from psyche_p2p.wire.bulk import ChunkRequest
from tests.net.builders import MakeService

Trick = Callable[[int, bytes], AsyncIterator[bytes]]


class TrickyBlobs(BlobMethods):
    """Sends what the trick makes of each chunk."""

    def __init__(self, shelf: Shelf, trick: Trick) -> None:
        super().__init__(shelf, lambda _: True)
        self._trick = trick

    async def fetch(self, call: Call, request: bytes) -> None:
        asked = decode(ChunkRequest, request)
        blob = await self._open(asked.blob_hash)
        for index in expand_ranges(asked.ranges):
            async for data in self._trick(index, blob.read(index)):
                await call.send(data)


def serving(trick: Trick, described: Described | None = None) -> MakeService:
    """A member's service with this Fetch."""

    def make_service(wrapper: CallWrapper, shelf: Shelf) -> grpc.GenericRpcHandler:
        blobs, run = TrickyBlobs(shelf, trick), DescribeMethods(described)
        return grpc.method_handlers_generic_handler(
            MEMBER_SERVICE,
            {
                "Describe": wrapper.stream(run.describe),
                "Have": wrapper.unary(blobs.have),
                "Manifest": wrapper.unary(blobs.manifest),
                "Fetch": wrapper.stream(blobs.fetch),
            },
        )

    return make_service


def lies_in(chunk: int) -> Trick:
    """Changes one bit of one chunk."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        yield bytes([data[0] ^ 1]) + data[1:] if index == chunk else data

    return trick


def sends_too_much_in(chunk: int, excess: int) -> Trick:
    """Makes one chunk longer than it is."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        yield data + b"x" * excess if index == chunk else data

    return trick


def lies_after(honest: int) -> Trick:
    """Changes one bit of every chunk after so many, whichever they are."""
    sent = count()

    async def trick(_: int, data: bytes) -> AsyncIterator[bytes]:
        yield data if next(sent) < honest else bytes([data[0] ^ 1]) + data[1:]

    return trick


def hangs_after(honest: int, act: Callable[[], None] = lambda: None) -> Trick:
    """Does something after so many chunks, and sends nothing more."""
    sent = count()

    async def trick(_: int, data: bytes) -> AsyncIterator[bytes]:
        if next(sent) >= honest:
            act()
            await asyncio.Event().wait()
        yield data

    return trick


def repeats(chunk: int) -> Trick:
    """Sends one chunk twice, so that there is one message too many."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        yield data
        if index == chunk:
            yield data

    return trick


def omits(chunk: int) -> Trick:
    """Leaves one chunk out."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        if index != chunk:
            yield data

    return trick


def stalls_in(chunk: int) -> Trick:
    """Sends nothing more from one chunk on, with the connection open."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        if index >= chunk:
            await asyncio.Event().wait()
        yield data

    return trick


def dies_in(chunk: int, kill: Callable[[], None]) -> Trick:
    """Is killed when it should send one chunk."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        if index == chunk:
            kill()
            await asyncio.Event().wait()
        yield data

    return trick


def counts(sent: list[int]) -> Trick:
    """Is honest, and notes what it sends."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        sent.append(index)
        yield data

    return trick


def counts_slowly(sent: list[int]) -> Trick:
    """The same, on a line of ten chunks a second."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        sent.append(index)
        await asyncio.sleep(0.1)
        yield data

    return trick


def waits_in(chunk: int, reached: asyncio.Event) -> Trick:
    """Is honest up to one chunk, then says so and waits."""

    async def trick(index: int, data: bytes) -> AsyncIterator[bytes]:
        if index == chunk:
            reached.set()
            await asyncio.Event().wait()
        yield data

    return trick
