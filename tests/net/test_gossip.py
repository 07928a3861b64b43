"""Gossip between real daemons on the loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import pytest

from psyche_p2p import wire
from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import BatchInterval, BlobHash, RunId
from psyche_p2p.net.daemon import Daemon
from psyche_p2p.net.gatekeeper import ACCEPTED, GossipLimits, Judgement, reject
from psyche_p2p.net.gossip import Gossip
from tests.net.real import daemons, identity_of, kill, run, until

RUN = RunId(b"r" * 32)
BATCH, TRAINER, HASH = BatchInterval(0, 1), identity_of("alice").peer_id, BlobHash(bytes(32))

FIRST_PROBE = 10**6


def accept_all(_: wire.Envelope) -> Judgement:
    return ACCEPTED


def reject_withdrawals(envelope: wire.Envelope) -> Judgement:
    return reject("no") if envelope.kind is wire.Kind.WITHDRAW else ACCEPTED


def vote(height: int) -> wire.Vote:
    return wire.Vote(height=height, view=0, step=wire.VoteStep.PREVOTE, block_hash=None)  # type: ignore[arg-type]


@asynccontextmanager
async def gossips(*names: str) -> AsyncIterator[tuple[list[Daemon], list[Gossip]]]:
    """Peers in one topic, each of which has heard of all others."""
    async with daemons(*names) as started, AsyncExitStack() as stack:
        limits = GossipLimits(max_strikes=3)
        peers = [
            await stack.enter_async_context(
                Gossip(daemon, daemon.config.identity, RUN, reject_withdrawals, limits=limits)
            )
            for daemon in started
        ]
        await form_mesh(peers)
        yield started, peers


async def _has_peers(gossip: Gossip, count: int) -> bool:
    return len(await gossip.peers()) >= count


async def form_mesh(peers: Sequence[Gossip]) -> None:
    """Have every peer heard by every other: gossipsub links them only at a heartbeat."""
    probes = count(FIRST_PROBE)
    unheard = {(speaker, listener) for speaker in peers for listener in peers} - {
        (peer, peer) for peer in peers
    }
    while unheard:
        for speaker in {speaker for speaker, _ in unheard}:
            sent = await speaker.publish(vote(next(probes)))
            for listener in {listener for other, listener in unheard if other is speaker}:
                if await hears(listener, sent.id):
                    unheard.discard((speaker, listener))


async def hears(listener: Gossip, message_id: bytes) -> bool:
    """Whether a message arrives soon."""
    try:
        while (await asyncio.wait_for(listener.receive(), 0.2)).id != message_id:
            pass
    except asyncio.TimeoutError:
        return False
    return True


async def heights(gossip: Gossip, number: int) -> set[int]:
    """The heights of the next messages that are not probes."""
    heard: list[int] = []
    while len(heard) < number:
        height = (await gossip.receive()).message.height
        heard += [height] if height < FIRST_PROBE else []
    return set(heard)


def test_everyone_hears_everyone_and_nobody_hears_itself() -> None:
    async def test() -> None:
        async with gossips("alice", "bob", "carol", "dave") as (_, peers):
            for number, peer in enumerate(peers):
                await peer.publish(vote(number))
            for number, peer in enumerate(peers):
                assert await heights(peer, 3) == {0, 1, 2, 3} - {number}
            assert all(peer.outcomes["reject"] == 0 for peer in peers)

    run(test())


def test_a_message_that_is_too_large_is_refused_before_it_is_sent() -> None:
    async def test() -> None:
        async with gossips("alice", "bob") as (_, (alice, bob)):
            with pytest.raises(ValueError, match="at most 65536 may be gossiped"):
                await alice.pass_on(bytes(wire.MAX_ENVELOPE_BYTES + 1))
            await alice.publish(vote(1))
            assert await heights(bob, 1) == {1}

    run(test())


def test_an_envelope_of_the_greatest_size_arrives() -> None:
    async def test() -> None:
        async with gossips("alice", "bob") as (_, (alice, bob)):
            blob = wire.AttestedBlob(batch=BATCH, trainer=TRAINER, blob_hash=HASH)
            attestation = wire.Attestation(
                epoch=1,  # type: ignore[arg-type]
                round=1,  # type: ignore[arg-type]
                blobs=(blob,) * 860,
                param_round=1,  # type: ignore[arg-type]
                param_roots=(),
            )
            sent = await alice.publish(attestation)
            assert len(sent.raw) > 63_000
            while (await bob.receive()).id != sent.id:
                pass

    run(test())


def test_after_a_daemon_was_killed_messages_flow_both_ways_within_five_seconds() -> None:
    async def test() -> None:
        async with gossips("alice", "bob") as ((alice, _), (at_alice, at_bob)):
            began = time.monotonic()
            kill(alice)
            await alice.stopped(0)
            with pytest.raises(Unavailable):
                await at_alice.publish(vote(1))
            await alice.running(after_generation=0)
            await alice.control.connect(at_bob._daemon.peer_id, at_bob._daemon.listen)
            await at_alice.subscribed()
            await form_mesh([at_alice, at_bob])
            assert time.monotonic() - began < 5.0

    run(test())


def test_who_sends_junk_is_disconnected_and_its_messages_no_longer_count() -> None:
    async def test() -> None:
        async with gossips("alice", "bob", "eve") as ((alice, _, eve), (at_alice, at_bob, at_eve)):
            for number in range(5):
                await at_eve.pass_on(b"junk %d" % number)
            await until(lambda: _is_disconnected(alice, eve))
            assert eve.peer_id in at_alice.banned
            await eve.control.connect(alice.peer_id, alice.listen)  # it comes back,
            await until(lambda: _is_disconnected(alice, eve))  # and is thrown out again
            await at_bob.publish(vote(7))
            assert await heights(at_alice, 1) == {7}

    run(test())


async def _is_disconnected(daemon: Daemon, other: Daemon) -> bool:
    return other.peer_id not in await daemon.control.connected_peers()


def test_a_bug_in_the_validator_reaches_the_receiver() -> None:
    def broken(_: wire.Envelope) -> Judgement:
        raise RuntimeError("a bug")

    async def test() -> None:
        async with daemons("alice", "bob") as (alice, bob):
            identities = alice.config.identity, bob.config.identity
            async with (
                Gossip(alice, identities[0], RUN, broken) as at_alice,
                Gossip(bob, identities[1], RUN, accept_all) as at_bob,
            ):
                await until(lambda: _has_peers(at_bob, 1))
                await until(lambda: _publish_until_broken(at_bob, at_alice))
                with pytest.raises(RuntimeError, match="a bug"):
                    await at_alice.receive()

    run(test())


async def _publish_until_broken(speaker: Gossip, listener: Gossip) -> bool:
    await speaker.publish(vote(time.monotonic_ns()))
    return not listener._inbox.empty()


def test_closing_ends_every_task() -> None:
    async def test() -> None:
        async with gossips("alice", "bob"):
            pass
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not [name for name in names if name.startswith(("gossip", "p2pd"))]

    run(test())
