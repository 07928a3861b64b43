"""What a network is really like between two of its peers, measured with plain sockets.

python -m wan_emulation.probe serve ADDRESS      # echoes datagrams, sends bytes over TCP
python -m wan_emulation.probe ask ADDRESS COUNT MEBIBYTES      # one line of JSON
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from wan_emulation.wan import Wan

PORT = 9000
_DATAGRAM_BYTES = 64
_GAP_S = 0.002
_LAST_ECHO_S = 1.0
_BLOCK = bytes(1 << 16)
_PROBE = Path(__file__)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Figures of the path from one peer to another and back."""

    rtt_p50_ms: float
    rtt_p95_ms: float
    loss: float
    """One way, from what was missing after both."""
    tcp_mbit: float
    """Payload of one TCP connection, after its start: below the link's rate by its headers."""


def measure(wan: Wan, datagrams: int = 1000, mebibytes: int = 8) -> Measurement:
    """The path from peer 1 to peer 0."""
    program = [sys.executable, str(_PROBE)]
    environment = {"PYTHONPATH": f"{_PROBE.parents[1]}:{_PROBE.parents[2]}"}
    serve = wan.command(0, [*program, "serve", wan.addresses[0]])
    ask = wan.command(1, [*program, "ask", wan.addresses[0], str(datagrams), str(mebibytes)])
    with subprocess.Popen(serve, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            answer = subprocess.run(ask, stdout=subprocess.PIPE, env=environment, check=True)
        finally:
            server.kill()
    return Measurement(**json.loads(answer.stdout))


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(data, address)


async def _send_blocks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    blocks = int.from_bytes(await reader.readexactly(8), "little")
    for _ in range(blocks):
        writer.write(_BLOCK)
        await writer.drain()
    writer.close()


async def _serve(address: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(_Echo, local_addr=(address, PORT))
    server = await asyncio.start_server(_send_blocks, address, PORT)
    print("ready", flush=True)
    await server.serve_forever()


def _ask(address: str, datagrams: int, mebibytes: int) -> Measurement:
    rtts_ms = sorted(_round_trips_ms(address, datagrams))
    if not rtts_ms:
        raise SystemExit("error: not one datagram came back")
    return Measurement(
        rtt_p50_ms=statistics.median(rtts_ms),
        rtt_p95_ms=rtts_ms[int(0.95 * (len(rtts_ms) - 1))],
        loss=1 - math.sqrt(len(rtts_ms) / datagrams),
        tcp_mbit=_tcp_mbit(address, mebibytes),
    )


def _round_trips_ms(address: str, datagrams: int) -> list[float]:
    """Evenly paced datagrams with the time of their departure inside."""
    rtts_ms = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((address, PORT))
        next_s = time.monotonic()
        for _ in range(datagrams):
            channel.send(time.monotonic_ns().to_bytes(8, "little").ljust(_DATAGRAM_BYTES))
            next_s += _GAP_S
            rtts_ms += _echoes_until(channel, next_s)
        end_s = time.monotonic() + _LAST_ECHO_S
        rtts_ms += _echoes_until(channel, end_s)
    return rtts_ms


def _echoes_until(channel: socket.socket, end_s: float) -> list[float]:
    rtts_ms = []
    while (left_s := end_s - time.monotonic()) > 0:
        channel.settimeout(left_s)
        try:
            echo = channel.recv(_DATAGRAM_BYTES)
        except TimeoutError:
            break
        rtts_ms.append((time.monotonic_ns() - int.from_bytes(echo[:8], "little")) / 1e6)
    return rtts_ms


def _tcp_mbit(address: str, mebibytes: int) -> float:
    """The second half of a download, when the congestion window has opened."""
    blocks = mebibytes * (1 << 20) // len(_BLOCK)
    half = blocks * len(_BLOCK) // 2
    with socket.create_connection((address, PORT), timeout=60) as channel:
        channel.sendall(blocks.to_bytes(8, "little"))
        received = _receive(channel, half)
        began_s = time.monotonic()
        rest = _receive(channel, 1 << 62)
        elapsed_s = time.monotonic() - began_s
    if received + rest < 2 * half:
        raise SystemExit("error: the download was cut short")
    return rest * 8 / 1e6 / elapsed_s


def _receive(channel: socket.socket, at_least: int) -> int:
    received = 0
    while received < at_least and (data := channel.recv(1 << 16)):
        received += len(data)
    return received


def main(arguments: list[str]) -> None:
    if arguments[0] == "serve":
        asyncio.run(_serve(arguments[1]))
    else:
        print(json.dumps(asdict(_ask(arguments[1], int(arguments[2]), int(arguments[3])))))


if __name__ == "__main__":
    main(sys.argv[1:])
