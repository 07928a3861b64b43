"""Two libp2ps in one mesh: py-libp2p verifies what go-libp2p's peers gossip."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import pytest

from psyche_p2p import wire
from psyche_p2p.errors import ExitCode
from psyche_p2p.ids import BlockHash, Height, RunId, View
from psyche_p2p.net.daemon import Daemon
from psyche_p2p.net.gatekeeper import ACCEPTED
from psyche_p2p.net.gossip import Gossip
from psyche_p2p.wire import encode_frame
from tests.net.real import daemons, kill, run, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("libp2p") is None, reason="the observer extra is not installed"
    ),
]
RUN = RunId(b"r" * 32)


def precommit(height: int) -> wire.Vote:
    block = BlockHash(height.to_bytes(32, "big"))
    return wire.Vote(Height(height), View(0), wire.VoteStep.PRECOMMIT, block)


@asynccontextmanager
async def observer(daemons: Sequence[Daemon], *arguments: str) -> AsyncIterator[Process]:
    code = "from psyche_p2p.cli.main import main; main()"
    peers = [f"--peer={daemon.listen[0]}/p2p/{daemon.peer_id}" for daemon in daemons]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", code, "observe", "--json"),
        *(f"--run-id={RUN.hex()}", *peers, *arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@dataclass
class Observed:
    """A peer whose messages an observer hears."""

    daemon: Daemon
    gossip: Gossip
    process: Process
    heights: Iterator[int]

    async def is_heard(self) -> None:
        await publish_until_seen(
            self.process, self.gossip, [next(self.heights) for _ in range(200)]
        )


@asynccontextmanager
async def observed_alice() -> AsyncIterator[Observed]:
    async with (
        daemons("alice") as (alice,),
        Gossip(alice, alice.config.identity, RUN, lambda _: ACCEPTED) as gossip,
        observer([alice]) as process,
    ):
        observed = Observed(alice, gossip, process, count())
        await observed.is_heard()
        yield observed


async def next_sighting(process: Process) -> dict[str, object]:
    assert process.stdout is not None
    sighting: dict[str, object] = json.loads(await process.stdout.readline())
    return sighting


async def publish_until_seen(process: Process, gossip: Gossip, heights: Sequence[int]) -> None:
    """The mesh forms in its own time: say it again until the observer has heard it."""
    seen = asyncio.create_task(next_sighting(process))
    for height in heights:
        await gossip.publish(precommit(height))
        if (await asyncio.wait({seen}, timeout=0.2))[0]:
            return
    raise AssertionError("the observer hears nothing")


def test_the_observer_verifies_what_the_daemons_gossip() -> None:
    async def test() -> None:
        async with (
            daemons("alice", "bob") as (alice, bob),
            Gossip(alice, alice.config.identity, RUN, lambda _: ACCEPTED) as at_alice,
            Gossip(bob, bob.config.identity, RUN, lambda _: ACCEPTED) as at_bob,
            observer([alice]) as process,
        ):
            await publish_until_seen(process, at_alice, range(1000, 1200))
            await publish_until_seen(process, at_bob, range(2000, 2200))  # two hops away
            await at_bob.pass_on(b"junk")
            sent = [
                await speaker.publish(precommit(height))
                for height in range(10)
                for speaker in (at_alice, at_bob)
            ]
            expected = {envelope.id.hex(): envelope.sender for envelope in sent}
            heard: dict[object, object] = {}
            counts = []
            while len(heard) < len(expected):
                sighting = await next_sighting(process)
                if sighting["id"] in expected:
                    heard[sighting["id"]] = sighting["sender"]
                    counts.append(sighting["precommits"])
            assert heard == expected
            assert sorted(map(str, counts)) == ["1"] * 10 + ["2"] * 10
            process.terminate()
            _, errors = await process.communicate()
            assert process.returncode == ExitCode.OK
            assert json.loads(errors.splitlines()[-1])["refused"] == {"malformed": 1}

    run(test())


def test_a_frame_of_garbage_does_not_end_the_observer() -> None:
    async def test() -> None:
        async with observed_alice() as alice:
            control = alice.daemon.control
            (its_id,) = await control.connected_peers()
            for _ in range(3):
                stream = await control.open_stream(its_id, ["/meshsub/1.1.0"])
                stream.writer.write(encode_frame(b"\xff" * 20))
                await stream.writer.drain()
                assert await stream.reader.read() == b""  # the observer has closed it
                stream.writer.close()
            await alice.is_heard()
            assert alice.process.returncode is None

    run(test())


def test_the_observer_comes_back_to_a_peer_that_was_killed() -> None:
    async def test() -> None:
        async with observed_alice() as alice:
            kill(alice.daemon)
            await alice.daemon.running(after_generation=0)
            await alice.gossip.subscribed()
            await until(lambda: _is_heard_of(alice.gossip))
            await alice.is_heard()

    run(test())


async def _is_heard_of(gossip: Gossip) -> bool:
    return len(await gossip.peers()) > 0
