"""Members whose Log is not what it should be: forged, with a gap, too much, silent, or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import grpc

from psyche_p2p.ids import Height
from psyche_p2p.net.handlers import Call, CallWrapper
from psyche_p2p.net.methods import MEMBER_SERVICE
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.wire import DecidedBlock, decode, encode
from psyche_p2p.wire.bulk import LogRequest
from tests.net.builders import MakeService

LogTrick = Callable[[Sequence[DecidedBlock], int], AsyncIterator[DecidedBlock]]
"""What to send of the log's rest when so many blocks of it are asked for."""


class BlockList:
    """A log in memory."""

    def __init__(self, decided: Sequence[DecidedBlock]) -> None:
        self._decided = decided

    def blocks(self, first: Height, count: int) -> Sequence[DecidedBlock]:
        return self._decided[first - 1 : first - 1 + count]


def serving_log(decided: Sequence[DecidedBlock], trick: LogTrick) -> MakeService:
    """A member's service with this Log and nothing else."""

    async def log(call: Call, request: bytes) -> None:
        asked = decode(LogRequest, request)
        async for one in trick(decided[asked.first_height - 1 :], asked.count):
            await call.send(encode(one))

    def make_service(wrapper: CallWrapper, _: Shelf) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(MEMBER_SERVICE, {"Log": wrapper.stream(log)})

    return make_service


def counts(heights: list[int]) -> LogTrick:
    """Is honest, and notes what it sends."""

    async def trick(rest: Sequence[DecidedBlock], count: int) -> AsyncIterator[DecidedBlock]:
        for decided in rest[:count]:
            heights.append(int(decided.block.height))
            yield decided

    return trick


def forges_from(height: int) -> LogTrick:
    """Gives certificates whose first signature is another's, from a height on."""

    async def trick(rest: Sequence[DecidedBlock], count: int) -> AsyncIterator[DecidedBlock]:
        for decided in rest[:count]:
            yield _forged(decided) if decided.block.height >= height else decided

    return trick


def _forged(decided: DecidedBlock) -> DecidedBlock:
    first, second, *rest = decided.certificate.signatures
    swapped = (replace(first, signature=second.signature), second, *rest)
    return replace(decided, certificate=replace(decided.certificate, signatures=swapped))


def skips(*heights: int) -> LogTrick:
    """Leaves blocks out."""

    async def trick(rest: Sequence[DecidedBlock], count: int) -> AsyncIterator[DecidedBlock]:
        for decided in [one for one in rest if one.block.height not in heights][:count]:
            yield decided

    return trick


def exceeds_by(more: int) -> LogTrick:
    """Sends more blocks than were asked for."""

    async def trick(rest: Sequence[DecidedBlock], count: int) -> AsyncIterator[DecidedBlock]:
        for decided in rest[: count + more]:
            yield decided

    return trick


def stalls_at(height: int) -> LogTrick:
    """Sends nothing more from a height on, with the connection open."""

    async def trick(rest: Sequence[DecidedBlock], count: int) -> AsyncIterator[DecidedBlock]:
        for decided in rest[:count]:
            if decided.block.height >= height:
                await asyncio.Event().wait()
            yield decided

    return trick


def is_silent() -> LogTrick:
    """Never answers."""

    async def trick(rest: Sequence[DecidedBlock], count: int) -> AsyncIterator[DecidedBlock]:
        await asyncio.Event().wait()
        for decided in rest[:count]:
            yield decided

    return trick


def dies_at(height: int, kill: Callable[[], None]) -> LogTrick:
    """Is killed when it should send one block."""

    async def trick(rest: Sequence[DecidedBlock], count: int) -> AsyncIterator[DecidedBlock]:
        for decided in rest[:count]:
            if decided.block.height == height:
                kill()
                await asyncio.Event().wait()
            yield decided

    return trick
