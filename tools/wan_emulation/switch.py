"""The process in the middle: owns the namespaces and moves packets between their devices.

    python -m wan_emulation.switch '{"profiles": [...], "mtu": 1500, "seed": 0}'

It says on standard output which files of its own are the namespaces, and ends when its standard
input does: so it outlives whoever started it, by just enough to end every process that still lives
in one of its namespaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from dataclasses import asdict
from typing import Any

from wan_emulation.namespaces import Namespace, kill_everyone_in, make_namespace
from wan_emulation.profile import PathProfile
from wan_emulation.shaping import Network

MAX_PEERS = 200
_LIFELINE_FD = 0
_PACKETS_PER_TURN = 64
_MAX_PACKET_BYTES = 65536
_IPV4 = 4
_TCP, _TCP_FLAGS_OFFSET, _SYN, _ACK = 6, 13, 0x02, 0x10


def address_of(peer: int) -> str:
    """The address of a peer in the emulated network."""
    return f"10.77.0.{peer + 1}"


class Switch:
    """Reads every device, hands packets to the shaped network, writes what has arrived."""

    def __init__(
        self, namespaces: list[Namespace], network: Network, closed: frozenset[int]
    ) -> None:
        self._network = network
        self._closed = closed
        self._devices = [namespace.tun_fd for namespace in namespaces]
        self._peer_of_device = {device: peer for peer, device in enumerate(self._devices)}

    def run(self) -> None:
        """Until the lifeline ends."""
        files = [_LIFELINE_FD, *self._devices]
        while True:
            readable, _, _ = select.select(files, [], [], self._wait_s())
            if _LIFELINE_FD in readable and not os.read(_LIFELINE_FD, 4096):
                return
            for device in readable:
                if device != _LIFELINE_FD:
                    self._read(device)
            self._deliver()

    def _wait_s(self) -> float | None:
        deadline_s = self._network.next_deadline()
        return None if deadline_s is None else max(0.0, deadline_s - time.monotonic())

    def _read(self, device: int) -> None:
        source = self._peer_of_device[device]
        for _ in range(_PACKETS_PER_TURN):
            try:
                packet = os.read(device, _MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            target = _target_peer(packet, len(self._devices))
            if target in self._closed and _begins_connection(packet):
                continue
            if target is not None and target != source:
                self._network.send(source, target, packet, time.monotonic())

    def _deliver(self) -> None:
        for delivery in self._network.advance(time.monotonic()):
            # the device's own queue is full: a real network would drop it, too
            with contextlib.suppress(BlockingIOError):
                os.write(self._devices[delivery.target], delivery.packet)


def _target_peer(packet: bytes, peers: int) -> int | None:
    """To which peer an IPv4 packet goes; None for broadcasts, IPv6 and strange addresses."""
    if len(packet) < 20 or packet[0] >> 4 != _IPV4 or packet[16:19] != bytes([10, 77, 0]):
        return None
    peer = packet[19] - 1
    return peer if 0 <= peer < peers else None


def _begins_connection(packet: bytes) -> bool:
    """Whether an IPv4 packet is the first of a TCP connection."""
    flags_at = 4 * (packet[0] & 0x0F) + _TCP_FLAGS_OFFSET
    if packet[9] != _TCP or len(packet) <= flags_at:
        return False
    return packet[flags_at] & (_SYN | _ACK) == _SYN


def main(arguments: list[str]) -> int:
    wanted: dict[str, Any] = json.loads(arguments[0])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starter decides when the network goes
    profiles = [PathProfile(**profile) for profile in wanted["profiles"]]
    namespaces: list[Namespace] = []
    network = Network(profiles, wanted["seed"])
    try:
        namespaces += [
            make_namespace(address_of(peer), wanted["mtu"]) for peer in range(len(profiles))
        ]
        _say({"namespaces": [[each.namespace_fd, each.inode] for each in namespaces]})
        closed = frozenset(peer for peer, one in enumerate(profiles) if one.is_closed)
        Switch(namespaces, network, closed).run()
    except OSError as error:
        _say({"error": str(error)})
        return 1
    finally:
        kill_everyone_in(frozenset(each.inode for each in namespaces))
    _say({"counters": asdict(network.counters)})
    return 0


def _say(line: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
