"""The TCP proxy: bytes arrive whole and late, stall and resume, are cut, and memory is bounded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from wan_emulation.profile import PathProfile
from wan_emulation.proxy import TcpProxy

from tests.echo import echo

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WAIT_S = 20


@asynccontextmanager
async def proxied(
    profile: PathProfile, handler: Handler = echo, cut_after_bytes: int | None = None
) -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with TcpProxy("127.0.0.1", port, profile, cut_after_bytes=cut_after_bytes) as proxy:
        yield proxy
    server.close()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, WAIT_S))


async def round_trip(proxy: TcpProxy, data: bytes) -> tuple[bytes, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    began_s = asyncio.get_running_loop().time()
    writer.write(data)
    writer.write_eof()
    echoed = await reader.read(-1)
    writer.close()
    return echoed, asyncio.get_running_loop().time() - began_s


def test_bytes_arrive_whole_and_not_before_their_time() -> None:
    async def scenario() -> None:
        async with proxied(PathProfile(delay_ms=40)) as proxy:
            data = random.Random(1).randbytes(300_000)
            echoed, took_s = await round_trip(proxy, data)
            assert echoed == data
            assert took_s >= 0.08
            assert proxy.forwarded_bytes == 600_000

    run(scenario())


def test_the_rate_is_a_ceiling() -> None:
    async def scenario() -> None:
        async with proxied(PathProfile(up_mbit=8)) as proxy:
            _, took_s = await round_trip(proxy, bytes(300_000))
            assert took_s >= 0.29

    run(scenario())


def test_a_stall_delivers_nothing_until_it_ends() -> None:
    async def scenario() -> None:
        async with proxied(PathProfile()) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            proxy.stall()
            writer.write(b"hello")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
            proxy.resume()
            assert await reader.readexactly(5) == b"hello"
            writer.close()

    run(scenario())


def test_a_cut_resets_what_is_open_and_welcomes_what_is_new() -> None:
    async def scenario() -> None:
        async with proxied(PathProfile()) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            proxy.cut()
            with pytest.raises(ConnectionError):
                await reader.read(1)
            writer.close()
            assert (await round_trip(proxy, b"again"))[0] == b"again"

    run(scenario())


def test_it_can_cut_after_so_many_bytes() -> None:
    async def scenario() -> None:
        async with proxied(PathProfile(), cut_after_bytes=100_000) as proxy:
            with pytest.raises(ConnectionError):
                await round_trip(proxy, bytes(1_000_000))

    run(scenario())


def test_a_reader_that_does_not_read_stops_the_writer() -> None:
    opened = asyncio.Event()

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.set()
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with proxied(PathProfile(up_mbit=1), never_read) as proxy:
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            await opened.wait()
            writer.write(bytes(64 << 20))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.5)
            assert proxy.forwarded_bytes < 1 << 20
            writer.transport.abort()

    run(scenario())


def test_a_target_that_is_not_there_resets_the_caller() -> None:
    async def scenario() -> None:
        unused = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = unused.sockets[0].getsockname()[1]
        unused.close()
        await unused.wait_closed()
        async with TcpProxy("127.0.0.1", port, PathProfile()) as proxy:
            with pytest.raises(ConnectionError):
                await round_trip(proxy, b"x")

    run(scenario())
