"""A late joiner's parameters from four members, some of them bad: with the node's own parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from psyche_p2p.blobs import Origin, SealedBlob, seal_dense
from psyche_p2p.clock import SystemClock
from psyche_p2p.config import canonical_bytes, run_id
from psyche_p2p.coordinator import genesis_state
from psyche_p2p.ids import Height, PeerId, RoundIndex, RunId, Tier
from psyche_p2p.model.param_root import ParamTree
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.limits import CallLimits
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.net.swarm import Swarm, SwarmLimits
from psyche_p2p.net.swarm_plan import PlanRules
from psyche_p2p.node.donors import PeerDonors
from psyche_p2p.node.settled import Settled
from psyche_p2p.observe.events import Event, ParametersArriving, Resynced
from psyche_p2p.train.parameter_format import ANY_EPOCH
from psyche_p2p.wire import BlobKind
from psyche_p2p.wire.bulk import ParameterOffer, RunDescription
from tests.coordinator.world import make_config, make_genesis, make_join
from tests.net import tricks
from tests.net.builders import Host, make_person, member_client, open_store, serve_members

CONFIG = make_config(model={"vocab_size": 11_000})
RUN = run_id(CONFIG)
DONORS = [make_person(f"donor {number}") for number in range(4)]
JOINER = make_person("joiner")
SLOW = CallLimits(bytes_per_s=4 << 20)
"""So that each of the four is needed, and there is a time half way."""
TIME_OUT_S = PlanRules().stall_s
SHAPES = parameter_shapes(CONFIG.model)
VALUES = {
    name: np.random.default_rng(place).normal(size=shape).astype(np.float32)
    for place, (name, shape) in enumerate(SHAPES.items())
}
SEALED: SealedBlob = seal_dense(
    BlobKind.PARAMETERS,
    Origin(RUN, ANY_EPOCH, RoundIndex(0), Tier(0), schema_hash(model_schema(CONFIG.model))),
    VALUES,
)
CHUNKS = len(SEALED.manifest.chunks)
OFFER = ParameterOffer(Tier(0), RoundIndex(0), SEALED.blob_hash, SEALED.manifest.size_bytes)


class Told:
    """A member that offers the parameters."""

    @property
    def run_id(self) -> RunId:
        return RUN

    def data_files(self) -> bytes:
        return b""

    def schema(self) -> bytes:
        return b""

    def describe(self, wanted: Tier | None) -> RunDescription:
        return RunDescription(canonical_bytes(CONFIG), None, None, Height(0), (OFFER,))


@dataclass
class Known:
    """Whom the joiner knows."""

    contacts: Mapping[PeerId, Contact]

    def members(self) -> Mapping[PeerId, Contact]:
        return self.contacts


@dataclass
class Joiner:
    """The joiner's side: what it fetches, and what it tells meanwhile."""

    folder: Path
    client: BulkClient
    hosts: Sequence[Host]
    told: list[Event] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda _: None

    def __post_init__(self) -> None:
        self.store = open_store(self.folder / "joiner")
        shelf, clock = Shelf(self.store), SystemClock()
        self.swarm = Swarm(self.store, shelf, self.client, clock, SwarmLimits(1 << 30))
        known = Known({host.person.peer: host.contact() for host in self.hosts})
        self.donors = PeerDonors(
            CONFIG,
            Tier(0),
            self.store,
            self.client,
            self.swarm,
            known,
            agreed(),
            self._tell,
            clock,
        )

    async def fetch(self) -> float:
        """How many seconds it took to have parameters that the log vouches for."""
        began = asyncio.get_running_loop().time()
        assert await self.donors.fetch() == OFFER
        assert self.store.has(SEALED.blob_hash)
        return asyncio.get_running_loop().time() - began

    def _tell(self, event: Event) -> None:
        self.told.append(event)
        self.on_event(event)

    @property
    def arriving(self) -> list[ParametersArriving]:
        return [event for event in self.told if isinstance(event, ParametersArriving)]

    @property
    def given(self) -> dict[PeerId, int]:
        last = self.arriving[-1]
        return dict(zip(last.sources, last.chunks_given, strict=True))


def agreed() -> Settled:
    """A log that says of these parameters that the run begins with them."""
    tree = ParamTree(CONFIG.model)
    tree.update(VALUES)
    roots = tuple(tree.root(Tier(tier)) for tier in range(CONFIG.model.max_tier, -1, -1))
    genesis = make_genesis(CONFIG, {number: make_join() for number in range(4)})
    settled = Settled()
    settled.on_state(replace(genesis_state(CONFIG, genesis), param_roots=roots))
    return settled


@asynccontextmanager
async def donors(folder: Path, *given: tricks.Trick | None) -> AsyncIterator[list[Host]]:
    """Four members that have the parameters; with a trick in the place of honesty."""
    async with AsyncExitStack() as stack:
        hosts = []
        for person, trick in zip(DONORS, [*given, None, None, None, None], strict=False):
            host = await stack.enter_async_context(
                serve_members(
                    person,
                    folder / person.peer[-8:],
                    [JOINER],
                    limits=SLOW,
                    described=Told(),
                    make_service=None if trick is None else tricks.serving(trick, Told()),
                )
            )
            host.store.add(SEALED)
            hosts.append(host)
        yield hosts


@asynccontextmanager
async def meeting(folder: Path, *given: tricks.Trick | None) -> AsyncIterator[Joiner]:
    async with donors(folder, *given) as hosts, member_client(JOINER) as client:
        yield Joiner(folder, client, hosts)


def test_everyone_gives_a_part_and_it_is_told_who_gave_how_much(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path) as joiner:
            await joiner.fetch()
            given, last = joiner.given, joiner.arriving[-1]
            assert set(given) == {person.peer for person in DONORS}
            assert max(given.values()) <= CHUNKS // 2, "the upload is spread"
            assert (last.param_round, last.chunks_here, last.chunks_total) == (0, CHUNKS, CHUNKS)
            assert sum(given.values()) >= CHUNKS
            assert joiner.arriving[0].chunks_here == 1
            resynced = [event for event in joiner.told if isinstance(event, Resynced)]
            assert [set(event.sources) for event in resynced] == [set(given)]

    asyncio.run(play())


@pytest.fixture(scope="module")
def undisturbed_s(tmp_path_factory: pytest.TempPathFactory) -> float:
    async def play() -> float:
        async with meeting(tmp_path_factory.mktemp("undisturbed")) as joiner:
            return await joiner.fetch()

    return asyncio.run(play())


@pytest.mark.parametrize("what", ["lies", "dies", "stalls"])
def test_one_bad_donor_costs_less_than_one_chunks_time_out(
    what: str, undisturbed_s: float, tmp_path: Path
) -> None:
    async def disturbed() -> tuple[float, Joiner]:
        async with AsyncExitStack() as stack:
            hosts: list[Host] = []
            stopping: list[asyncio.Task[None]] = []

            def kill() -> None:
                if not stopping:
                    stopping.append(asyncio.create_task(hosts[0].server.stop_now()))

            bad = {
                "lies": tricks.lies_after(1),
                "dies": tricks.hangs_after(1, kill),
                "stalls": tricks.hangs_after(1),
            }[what]
            hosts += await stack.enter_async_context(donors(tmp_path, bad))
            client = await stack.enter_async_context(member_client(JOINER))
            joiner = Joiner(tmp_path, client, hosts)
            seconds = await joiner.fetch()
            await asyncio.gather(*stopping)
            return seconds, joiner

    seconds, joiner = asyncio.run(disturbed())
    assert seconds - undisturbed_s < TIME_OUT_S
    assert joiner.given.get(DONORS[0].peer, 0) <= 1
    assert (DONORS[0].peer in joiner.swarm.book.liars) == (what == "lies")
    assert sum(isinstance(event, Resynced) for event in joiner.told) == 1


def test_whoever_was_interrupted_fetches_only_the_rest(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path) as first:
            reached = asyncio.Event()
            first.on_event = lambda _: reached.set()
            fetching = asyncio.create_task(first.fetch())
            await reached.wait()
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
            await first.swarm.close()
            second = Joiner(tmp_path, first.client, first.hosts)
            await second.fetch()
            assert second.arriving[0].chunks_here > 1
            assert sum(second.given.values()) < CHUNKS
            assert second.arriving[-1].chunks_here == CHUNKS

    asyncio.run(play())
