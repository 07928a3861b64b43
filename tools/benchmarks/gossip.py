"""Gossip among many peers on this machine: how much arrives, and how late.

Every peer has its own daemon; a few processes hold several peers each, so that no Python is busier
than it would be on machines of their own. Message n is published by peer n modulo the number of
peers at its own moment, whatever happened to those before (no coordinated omission).
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.report import report
from psyche_p2p.identity import Identity
from psyche_p2p.ids import EpochIndex, PeerId, RunId
from psyche_p2p.net.daemon import Daemon, DaemonConfig
from psyche_p2p.net.gatekeeper import ACCEPTED
from psyche_p2p.net.gossip import Gossip
from psyche_p2p.net.multiaddr import Multiaddr, parse_multiaddr
from psyche_p2p.wire import Withdraw

RUN = RunId(b"gossip benchmark".ljust(32, b"."))
LISTEN = (parse_multiaddr("/ip4/127.0.0.1/tcp/0"),)
NEIGHBOURS = 8
WARM_UP_S = 5.0
SETTLE_S = 5.0
_TEXT_BYTES = 1024


@dataclass(frozen=True)
class Plan:
    """What all workers do."""

    peers: int
    rate: float
    seconds: float
    workers: int

    @property
    def messages(self) -> int:
        return int(self.rate * self.seconds)

    @property
    def warm_up_messages(self) -> int:
        return int(self.rate * WARM_UP_S)


@dataclass(frozen=True)
class Outcome:
    """What one worker's peers heard."""

    latencies_s: list[float]
    unplanned: int
    cpu_s: float


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/bench gossip", description=__doc__)
    parser.add_argument("--peers", type=int, default=16)
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second, of all peers")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=4, help="processes that hold the peers")
    plan = Plan(**vars(parser.parse_args(arguments)))
    load_before = os.getloadavg()[0]
    _report(plan, _run(plan), load_before)
    return 0


def _run(plan: Plan) -> list[Outcome]:
    context = multiprocessing.get_context("spawn")
    pipes = []
    for number in range(plan.workers):
        ours, theirs = context.Pipe()
        worker = context.Process(target=_worker, args=(plan, number, theirs), daemon=True)
        worker.start()
        theirs.close()
        pipes.append(ours)
    addresses = [entry for pipe in pipes for entry in pipe.recv()]
    for pipe in pipes:
        pipe.send(addresses)
    for pipe in pipes:
        pipe.recv()  # connected
    begin_at_s = time.monotonic() + 1.0  # one clock for all processes of a machine
    for pipe in pipes:
        pipe.send(begin_at_s)
    return [pipe.recv() for pipe in pipes]


def _report(plan: Plan, outcomes: Sequence[Outcome], load_before: float) -> None:
    latencies_ms = sorted(1000 * s for outcome in outcomes for s in outcome.latencies_s)
    expected = plan.messages * (plan.peers - 1)
    details: dict[str, Any] = {
        "peers": plan.peers,
        "rate": plan.rate,
        "seconds": plan.seconds,
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
    }
    report("gossip.delivered", len(latencies_ms) / expected, "", expected=expected, **details)
    report("gossip.unplanned", sum(outcome.unplanned for outcome in outcomes), "messages")
    report("gossip.p50", statistics.median(latencies_ms), "ms", **details)
    report("gossip.p99", latencies_ms[int(len(latencies_ms) * 0.99)], "ms", **details)
    report("gossip.max", latencies_ms[-1], "ms", **details)
    cpu_s = sum(outcome.cpu_s for outcome in outcomes)
    report("gossip.cpu", cpu_s / plan.peers / (plan.seconds + WARM_UP_S), "cores a peer")


def _worker(plan: Plan, number: int, pipe: Connection) -> None:
    outcome = asyncio.run(_run_peers(plan, range(number, plan.peers, plan.workers), pipe))
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(each.ru_utime + each.ru_stime for each in usage)
    pipe.send(Outcome(**{**vars(outcome), "cpu_s": cpu_s}))


async def _run_peers(plan: Plan, numbers: range, pipe: Connection) -> Outcome:
    async with AsyncExitStack() as stack:
        daemons = [
            await stack.enter_async_context(Daemon(DaemonConfig(_identity(n), listen=LISTEN)))
            for n in numbers
        ]
        gossips = [
            await stack.enter_async_context(
                Gossip(daemon, daemon.config.identity, RUN, lambda _: ACCEPTED)
            )
            for daemon in daemons
        ]
        await asyncio.gather(*(gossip.subscribed() for gossip in gossips))
        pipe.send([(n, d.peer_id, d.listen) for n, d in zip(numbers, daemons, strict=True)])
        everyone = {entry[0]: entry[1:] for entry in await _receive(pipe)}
        for n, daemon in zip(numbers, daemons, strict=True):
            await _connect(daemon, n, everyone)
        pipe.send("connected")
        begin_at_s = await _receive(pipe)
        ears = [_Ear(plan, gossip) for gossip in gossips]
        listening = [asyncio.create_task(ear.listen()) for ear in ears]
        await asyncio.gather(
            *(_publish(plan, n, g, begin_at_s) for n, g in zip(numbers, gossips, strict=True))
        )
        while any(  # noqa: ASYNC110 - what may still come has no event
            time.monotonic() - ear.heard_at_s < SETTLE_S for ear in ears
        ):
            await asyncio.sleep(SETTLE_S / 10)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    return Outcome(
        latencies_s=[latency for ear in ears for latency in ear.latencies_s.values()],
        unplanned=sum(ear.unplanned for ear in ears),
        cpu_s=0.0,
    )


async def _receive(pipe: Connection) -> Any:
    return await asyncio.to_thread(pipe.recv)


async def _connect(
    daemon: Daemon, number: int, everyone: dict[int, tuple[PeerId, tuple[Multiaddr, ...]]]
) -> None:
    for step in range(1, min(NEIGHBOURS, len(everyone) - 1) + 1):
        peer, addresses = everyone[(number + step) % len(everyone)]
        await daemon.control.connect(peer, addresses)


async def _publish(plan: Plan, number: int, gossip: Gossip, begin_at_s: float) -> None:
    """Publish this peer's messages, each at its moment; the first ones only form the mesh."""
    total = plan.warm_up_messages + plan.messages
    for message in range(number, total, plan.peers):
        due_at_s = begin_at_s + message / plan.rate
        await asyncio.sleep(max(0.0, due_at_s - time.monotonic()))
        text = f"{due_at_s!r} ".ljust(_TEXT_BYTES, "x")
        await gossip.publish(Withdraw(EpochIndex(message), text, message))


class _Ear:
    """What one peer hears: latencies from the moment a message was due."""

    def __init__(self, plan: Plan, gossip: Gossip) -> None:
        self._plan = plan
        self._gossip = gossip
        self.latencies_s: dict[int, float] = {}
        self.unplanned = 0
        self.heard_at_s = time.monotonic()

    async def listen(self) -> None:
        while True:
            message = (await self._gossip.receive()).message
            self.heard_at_s = time.monotonic()
            measured = message.epoch - self._plan.warm_up_messages
            if measured >= self._plan.messages or message.epoch in self.latencies_s:
                self.unplanned += 1
            elif measured >= 0:
                due_at_s = float(message.reason.split()[0])
                self.latencies_s[message.epoch] = self.heard_at_s - due_at_s


def _identity(number: int) -> Identity:
    return Identity.from_seed(number.to_bytes(32, "big"))
