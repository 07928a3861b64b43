"""Anti-entropy over real sockets: what some peers never heard reaches them, blocks included."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from psyche_p2p.clock import SystemClock
from psyche_p2p.errors import RemoteError
from psyche_p2p.ids import (
    BlobHash,
    BlockHash,
    EpochIndex,
    Height,
    PeerId,
    Signature,
    StateRoot,
    View,
)
from psyche_p2p.net.anti_entropy import AntiEntropy
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.reconciler import Reconciler
from psyche_p2p.net.statements import StatementPool
from psyche_p2p.wire import Block, Certificate, DecidedBlock, Envelope
from psyche_p2p.wire.bulk import PullRequest, StatementSet, Topic
from tests.net.builders import (
    RUN,
    Host,
    NoLog,
    Person,
    make_person,
    member_client,
    serve_members,
)
from tests.net.gossip_world import FRONTIER, make_statement

PEOPLE = [make_person(f"member {number}") for number in range(16)]
MEMBERS = {person.peer for person in PEOPLE}
FEW = PEOPLE[:4]
TURNS = 3  # a machine that has much else to do may need another


def make_pool(changed: asyncio.Event, on_new: Callable[[Envelope], None]) -> StatementPool:
    def on_statement(opened: Envelope) -> None:
        changed.set()
        on_new(opened)

    return StatementPool(RUN, MEMBERS.__contains__, FRONTIER, on_statement)


def make_block(height: int) -> DecidedBlock:
    block = Block(
        Height(height),
        BlockHash(b"p" * 32),
        View(0),
        PEOPLE[0].peer,
        0,
        BlobHash(b"s" * 32),
        Signature(b"s" * 64),
        (),
        StateRoot(b"r" * 32),
    )
    return DecidedBlock(block, Certificate(Height(height), View(0), BlockHash(b"h" * 32), ()))


class Log(NoLog):
    """Ten blocks past the frontier."""

    def blocks(self, first: Height, count: int) -> Sequence[DecidedBlock]:
        last = FRONTIER.height + 10
        return [make_block(height) for height in range(first, min(first + count, last + 1))]


@dataclass
class Node:
    """A member with a pool, a server and a client."""

    host: Host
    pool: StatementPool
    client: BulkClient
    changed: asyncio.Event
    blocks: list[DecidedBlock] = field(default_factory=list)

    def reconciler(self, members: Mapping[PeerId, Contact], period_s: float = 0.05) -> Reconciler:
        def on_blocks(_: PeerId, blocks: Sequence[DecidedBlock]) -> None:
            self.blocks += blocks
            self.changed.set()

        core = AntiEntropy(self.pool, period_s, Random(self.host.person.peer).choice)
        return Reconciler(
            self.pool,
            core,
            self.client,
            SystemClock(),
            lambda: members,
            on_blocks,
        )


@asynccontextmanager
async def network(
    folder: Path, people: Sequence[Person], on_new: Callable[[Envelope], None] = lambda _: None
) -> AsyncIterator[list[Node]]:
    """These members, each served and each with a client."""
    async with AsyncExitStack() as stack:
        nodes = []
        for person in people:
            changed = asyncio.Event()
            pool = make_pool(changed, on_new)
            host = await stack.enter_async_context(
                serve_members(person, folder / person.peer[-8:], people, statements=pool, log=Log())
            )
            client = await stack.enter_async_context(member_client(person))
            nodes.append(Node(host, pool, client, changed))
        yield nodes


def test_what_a_fifth_never_heard_reaches_all(tmp_path: Path) -> None:
    async def play() -> None:
        random, count = Random(5), 40
        async with network(tmp_path, FEW) as nodes:
            contacts = {node.host.person.peer: node.host.contact() for node in nodes}
            for index in range(count):
                raw = make_statement(PEOPLE[index % 4].identity, index)
                for number, node in enumerate(nodes):
                    if number == index % 4 or random.random() >= 0.2:
                        node.pool.accept(raw)
            assert any(node.pool.count < count for node in nodes)
            running = [
                asyncio.create_task(node.reconciler(without(contacts, node)).run())
                for node in nodes
            ]
            await asyncio.wait_for(all_hold(nodes, count), 20)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(play())


@pytest.mark.slow
def test_a_fifth_of_gossip_lost_is_everywhere_within_three_seconds(tmp_path: Path) -> None:
    slowest = []
    for turn in range(TURNS):
        slowest.append(asyncio.run(slowest_s(tmp_path / str(turn), Random(turn), 60)))
        if slowest[-1] < 3.0:
            return
    raise AssertionError(f"seconds until the last was everywhere: {slowest}")


async def slowest_s(folder: Path, random: Random, count: int) -> float:
    """Of so many statements published over two seconds, how long the slowest was on its way.

    Sixteen members, each on a socket of its own, that compare once a second as peers do.
    """
    loop, all_arrived = asyncio.get_running_loop(), asyncio.Event()
    published: dict[bytes, float] = {}
    took: dict[bytes, float] = {}
    holders: Counter[bytes] = Counter()

    def on_new(opened: Envelope) -> None:
        holders[opened.raw] += 1
        if holders[opened.raw] == len(PEOPLE):
            took[opened.raw] = loop.time() - published[opened.raw]
            if len(took) == count:
                all_arrived.set()

    def publish(nodes: Sequence[Node], index: int) -> None:
        author = random.choice(nodes)
        raw = make_statement(author.host.person.identity, index)
        published[raw] = loop.time()
        for node in nodes:
            if node is author or random.random() >= 0.2:
                node.pool.accept(raw)

    async with network(folder, PEOPLE, on_new) as nodes:
        contacts = {node.host.person.peer: node.host.contact() for node in nodes}
        running = [
            asyncio.create_task(begin_after(random.random(), node, without(contacts, node)))
            for node in nodes
        ]
        for index in range(count):
            loop.call_later(random.random() * 2, publish, nodes, index)
        await asyncio.wait_for(all_arrived.wait(), 60)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return max(took.values())


async def begin_after(seconds: float, node: Node, members: Mapping[PeerId, Contact]) -> None:
    await asyncio.sleep(seconds)
    await node.reconciler(members, period_s=1.0).run()


def without(contacts: Mapping[PeerId, Contact], node: Node) -> dict[PeerId, Contact]:
    return {peer: one for peer, one in contacts.items() if peer != node.host.person.peer}


async def all_hold(nodes: Sequence[Node], count: int) -> None:
    """Until every pool is full, by pulls of its own and by pushes of others."""
    for node in nodes:
        while node.pool.count < count:
            node.changed.clear()
            await node.changed.wait()


def test_a_peer_that_is_behind_pulls_the_blocks(tmp_path: Path) -> None:
    async def play() -> None:
        async with network(tmp_path, PEOPLE[:2]) as (ahead, behind):
            ahead.pool.move_to(replace(FRONTIER, height=Height(FRONTIER.height + 10)))
            contacts = {ahead.host.person.peer: ahead.host.contact()}
            running = asyncio.create_task(behind.reconciler(contacts).run())
            await asyncio.wait_for(behind.changed.wait(), 20)
            running.cancel()
            heights = [one.block.height for one in behind.blocks[:10]]
            assert heights == list(range(FRONTIER.height + 1, FRONTIER.height + 11))

    asyncio.run(play())


def test_pushed_statements_are_the_second_path_beside_gossip(tmp_path: Path) -> None:
    async def play() -> None:
        async with network(tmp_path, PEOPLE[:2]) as (sender, receiver):
            statements = [make_statement(PEOPLE[0].identity, index) for index in range(5)]
            contact = receiver.host.contact()
            reply = await sender.client.push(contact, statements)
            assert (reply.accepted, reply.ignored) == (5, 0)
            reply = await sender.client.push(contact, statements)
            assert (reply.accepted, reply.ignored) == (0, 5)
            with pytest.raises(RemoteError):
                await sender.client.push(contact, [b"junk"])
            with pytest.raises(RemoteError):
                await sender.client.push(contact, [b"x" * 70_000])
            assert receiver.pool.count == 5

    asyncio.run(play())


def test_a_pull_gives_what_is_lacking_and_asks_for_the_rest(tmp_path: Path) -> None:
    async def play() -> None:
        async with network(tmp_path, PEOPLE[:2]) as (ours, theirs):
            raw = make_statement(PEOPLE[1].identity, 0)
            theirs.pool.accept(raw)
            unknown = BlobHash(b"u" * 32)
            named = StatementSet(Topic.COMMITMENTS, EpochIndex(1), 7, (unknown,))
            wanted, given = await ours.client.pull(theirs.host.contact(), PullRequest((named,)))
            assert given == [raw]
            assert wanted.sets == (named,)

    asyncio.run(play())
