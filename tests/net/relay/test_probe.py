"""The probe of libp2p circuits: a direct way is trusted, a limited relay is not, nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from psyche_p2p.errors import Unavailable
from psyche_p2p.net.control import Stream
from psyche_p2p.net.relay.probe import (
    PROBE_BYTES,
    PROBE_PROTOCOL,
    RELAY_LIMIT_BYTES,
    ProbeResponder,
    ProbeVerdict,
    probe_circuit,
)
from tests.net.real import daemon_of, identity_of, run

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def verdict_on(handler: Handler, folder: Path, timeout_s: float = 10.0) -> ProbeVerdict:
    """The verdict on a stream whose other end is this handler."""
    path = str(folder / "peer.sock")
    server = await asyncio.start_unix_server(handler, path)

    async def open_stream() -> Stream:
        reader, writer = await asyncio.open_unix_connection(path)
        return Stream(identity_of("peer").peer_id, PROBE_PROTOCOL, reader, writer)

    verdict = await probe_circuit(open_stream, timeout_s=timeout_s)
    server.close()
    return verdict


def echo_at_most(limit: int, flip: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = limit
        while left > 0 and (data := await reader.read(min(left, 16384))):
            left -= len(data)
            writer.write(bytes([data[0] ^ flip]) + data[1:])
        writer.close()

    return handle


async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)
    writer.close()


@pytest.mark.parametrize(
    ("limit", "is_trusted"), [(PROBE_BYTES, True), (RELAY_LIMIT_BYTES, False), (98_304, False)]
)
def test_only_a_circuit_that_carries_it_all_is_trusted(
    tmp_path: Path, limit: int, is_trusted: bool
) -> None:
    verdict = run(verdict_on(echo_at_most(limit), tmp_path))
    assert verdict.is_trusted is is_trusted
    assert verdict.returned_bytes == limit or not is_trusted
    assert ("use another relay" in str(verdict)) is not is_trusted


def test_a_circuit_that_changes_a_bit_is_not_trusted(tmp_path: Path) -> None:
    verdict = run(verdict_on(echo_at_most(PROBE_BYTES, flip=True), tmp_path))
    assert not verdict.is_trusted
    assert "other bytes came back" in str(verdict)


def test_a_circuit_on_which_nothing_moves_is_given_up(tmp_path: Path) -> None:
    verdict = run(verdict_on(never_answer, tmp_path, timeout_s=0.2))
    assert not verdict.is_trusted
    assert "nothing more within 0.2 s" in str(verdict)


def test_a_circuit_that_cannot_be_opened_is_a_verdict_too() -> None:
    async def refuse() -> Stream:
        raise Unavailable("libp2p: no reservation")

    assert "no reservation" in str(run(probe_circuit(refuse)))


def test_a_direct_connection_between_daemons_is_trusted() -> None:
    async def scenario() -> ProbeVerdict:
        async with daemon_of("one") as one, daemon_of("two") as two:
            await one.control.connect(two.peer_id, two.listen)
            async with ProbeResponder(two.control, two.folder):
                return await probe_circuit(
                    lambda: one.control.open_stream(two.peer_id, [PROBE_PROTOCOL])
                )

    assert run(scenario()).is_trusted
