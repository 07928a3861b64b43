"""The blind relay: throughput and delay through it against the same bytes over a direct connection.

    tools/bench relay [--mebibytes 256] [--turns 3]

Three processes on the loopback: a peer that sends bytes, a relay, and this one. Run turn by turn.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection

from benchmarks.report import median_ratio, report, time_in_turns
from psyche_p2p.identity import Identity
from psyche_p2p.ids import RunId
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.net.relay.client import RelayListener, RelayUser
from psyche_p2p.net.relay.desk import RelayLimits
from psyche_p2p.net.relay.server import RelayServer

_RUN = RunId(bytes(32))
_RELAY, _SENDER, _CALLER = (Identity.from_seed(bytes([number]) * 32) for number in range(3))
_LOOPBACK = "127.0.0.1"
_BLOCK = bytes(1 << 20)
_PINGS = 500
_UNLIMITED = replace(RelayLimits(), bytes_per_s=float("inf"), total_bytes_per_s=float("inf"))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/bench relay")
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    relay_port, relay = _start(context, _run_relay)
    sender_port, sender = _start(context, _run_sender, relay_port)
    try:
        _measure(relay_port, sender_port, options.mebibytes, options.turns)
    finally:
        for process in (relay, sender):
            process.kill()
            process.join()
    return 0


def _measure(relay_port: int, sender_port: int, mebibytes: int, turns: int) -> None:
    address = RelayAddress(_LOOPBACK, relay_port, _RELAY.peer_id)
    user = RelayUser(_CALLER, _RUN)
    connect: dict[str, Callable[[], socket.socket]] = {
        "relay": lambda: asyncio.run(user.open_circuit(address, _SENDER.peer_id)),
        "direct": lambda: socket.create_connection((_LOOPBACK, sender_port)),
    }
    downloads = {name: partial(_download, via, mebibytes) for name, via in connect.items()}
    seconds = time_in_turns(downloads, turns)
    size_mb = mebibytes * len(_BLOCK) / 1e6
    for name, taken in seconds.items():
        report(f"relay.{name}_mb_s", size_mb / statistics.median(taken), "MB/s", turns=turns)
    report("relay.vs_direct", median_ratio(seconds["direct"], seconds["relay"]), "ratio")
    for name, via in connect.items():
        report(f"relay.{name}_rtt_ms", _round_trip_ms(via()), "ms", pings=_PINGS)
    opened = time_in_turns({"open": lambda: connect["relay"]().close()}, 20)["open"]
    report("relay.open_circuit_ms", 1000 * statistics.median(opened), "ms")


def _download(connect: Callable[[], socket.socket], mebibytes: int) -> None:
    with connect() as connection:
        connection.setblocking(True)
        connection.sendall(mebibytes.to_bytes(4, "little"))
        buffer, left = bytearray(1 << 20), mebibytes * len(_BLOCK)
        while left:
            received = connection.recv_into(buffer)
            if received == 0:
                raise SystemExit("error: the download was cut short")
            left -= received


def _round_trip_ms(connection: socket.socket) -> float:
    taken = []
    with connection:
        connection.setblocking(True)
        connection.sendall(bytes(4))
        for _ in range(_PINGS):
            began = time.perf_counter()
            connection.sendall(b"p")
            connection.recv(1)
            taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def _start(
    context: multiprocessing.context.SpawnContext, target: Callable[..., None], *arguments: int
) -> tuple[int, multiprocessing.context.SpawnProcess]:
    """A process that says on which port it listens."""
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sending, *arguments), daemon=True)
    process.start()
    port: int = receiving.recv()
    return port, process


def _run_relay(ready: Connection) -> None:
    async def serve() -> None:
        everyone = RelayServer(_RELAY.peer_id, lambda *_: True, _UNLIMITED, host=_LOOPBACK)
        async with everyone as relay:
            ready.send(relay.port)
            await asyncio.Event().wait()

    asyncio.run(serve())


def _run_sender(ready: Connection, relay_port: int) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(_send_or_echo, _LOOPBACK, 0)
        port = server.sockets[0].getsockname()[1]
        address = RelayAddress(_LOOPBACK, relay_port, _RELAY.peer_id)
        async with RelayListener(RelayUser(_SENDER, _RUN), address, port) as listener:
            await listener.is_listening.wait()
            ready.send(port)
            await server.serve_forever()

    asyncio.run(serve())


async def _send_or_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As many mebibytes as are asked for; for none, an echo."""
    try:
        blocks = int.from_bytes(await reader.readexactly(4), "little")
        for _ in range(blocks):
            writer.write(_BLOCK)
            await writer.drain()
        while not blocks and (data := await reader.read(64)):
            writer.write(data)
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()
