"""A newcomer gets parameters that the log vouches for, or a clear error: on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from psyche_p2p.blobs import (
    BlobStore,
    Origin,
    SealedBlob,
    read_dense,
    read_layout,
    seal_dense,
)
from psyche_p2p.clock import SystemClock
from psyche_p2p.config import canonical_bytes, run_id
from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import (
    BlobHash,
    EpochIndex,
    Height,
    RoundIndex,
    RunId,
    SchemaHash,
    Tier,
    short_id,
)
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.description import Description, fetch_description
from psyche_p2p.net.download import FetchProgress
from psyche_p2p.net.errors import NotHeld
from psyche_p2p.net.limits import CallLimits
from psyche_p2p.net.parameter_fetch import FetchedParameters, ParameterFetcher, Wanted
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.net.swarm import Swarm, SwarmLimits
from psyche_p2p.net.swarm_plan import PlanRules
from psyche_p2p.wire import BlobKind, encode
from psyche_p2p.wire.bulk import ParameterOffer, RunDescription
from tests.coordinator.recorded import Recorded
from tests.coordinator.world import make_config
from tests.net.builders import (
    Host,
    joiner_client,
    make_person,
    open_store,
    serve_joiners,
    serve_members,
)

CONFIG = make_config(run={"total_rounds": 1})
RUN = run_id(CONFIG)
HEAD = Recorded(CONFIG).head
DONORS = [make_person(f"donor {number}") for number in range(4)]
TIER = Tier(1)
ROUNDS = Wanted(TIER, range(100))
CHUNKS = 12
HASTY = PlanRules(stall_s=0.3)
SLOW = CallLimits(bytes_per_s=8 << 20)


def make_parameters(param_round: int, says_round: int | None = None, tier: int = 1) -> SealedBlob:
    """Tensors that only this round has."""
    values = np.random.default_rng(param_round).normal(size=(CHUNKS - 1, 1 << 18))
    said = param_round if says_round is None else says_round
    origin = Origin(RUN, EpochIndex(0), RoundIndex(said), Tier(tier), SchemaHash(bytes(32)))
    return seal_dense(BlobKind.PARAMETERS, origin, {"weight": values.astype(np.float32)})


def offer_of(sealed: SealedBlob, param_round: int, tier: int = 1) -> ParameterOffer:
    size_bytes = sealed.manifest.size_bytes
    return ParameterOffer(Tier(tier), RoundIndex(param_round), sealed.blob_hash, size_bytes)


class Donor:
    """A member's node: its store, what it offers of it, and how it describes the run."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.offers = ParameterOffers(SystemClock())
        self.contact: Contact = host.contact()

    @property
    def run_id(self) -> RunId:
        return RUN

    def data_files(self) -> bytes:
        return b"the files"

    def schema(self) -> bytes:
        return b"the schema"

    def describe(self, wanted: Tier | None) -> RunDescription:
        if wanted is not None:
            self.offers.note_wanted(wanted)
        offers = self.offers.current()
        config = canonical_bytes(CONFIG)
        founding = None if HEAD.founding is None else encode(HEAD.founding)
        return RunDescription(config, encode(HEAD.genesis), founding, Height(0), offers)

    def give(self, sealed: SealedBlob, param_round: int, *, is_held: bool = True) -> ParameterOffer:
        """Offer a blob, and have it unless `is_held` is false."""
        if is_held:
            self.host.store.add(sealed)
        offer = offer_of(sealed, param_round)
        self.offers.offer(offer)
        return offer


@asynccontextmanager
async def donors(
    folder: Path, count: int, limits: CallLimits | None = None
) -> AsyncIterator[list[Donor]]:
    """Members that serve joiners."""
    async with AsyncExitStack() as stack:
        made = []
        for person in DONORS[:count]:
            place = folder / person.peer[-8:]
            host = await stack.enter_async_context(serve_members(person, place, DONORS))
            donor = Donor(host)
            serve = serve_joiners(host, donor.offers.is_public, described=donor, limits=limits)
            server = await stack.enter_async_context(serve)
            donor.contact = host.contact(server.ports[0])
            made.append(donor)
        yield made


@dataclass
class Judge:
    """Knows what the log says: which round's parameters start with which number."""

    store: BlobStore
    judged: list[ParameterOffer] = field(default_factory=list)

    def find_fault(self, offer: ParameterOffer) -> str | None:
        self.judged.append(offer)
        view = read_layout(self.store.read(offer.blob_hash))
        found = read_dense(view)["weight"]
        really = np.random.default_rng(offer.param_round).normal(size=1).astype(np.float32)
        is_right = bool(found.reshape(-1)[0] == really[0])
        return None if is_right else f"its root is not the log's after round {offer.param_round}"


class Newcomer:
    """Someone without a certificate, who knows the run's id and some contacts."""

    def __init__(
        self, folder: Path, client: BulkClient, stall_s: float = 0.5, deadline_s: float = 600.0
    ) -> None:
        self.client = client
        self.store = open_store(folder / "newcomer")
        limits = SwarmLimits(1 << 30, deadline_s)
        self.swarm = Swarm(self.store, Shelf(self.store), client, SystemClock(), limits, HASTY)
        self.judge = Judge(self.store)
        self.fetcher = ParameterFetcher(self.swarm, self.judge.find_fault, stall_s)
        self.progress: list[FetchProgress] = []
        self.on_progress: Callable[[FetchProgress], None] = lambda _: None

    async def fetch(self, given: Sequence[Donor], wanted: Wanted = ROUNDS) -> FetchedParameters:
        return await self.fetcher.fetch(await self.ask(given), wanted, self.note)

    def note(self, progress: FetchProgress) -> None:
        self.progress.append(progress)
        self.on_progress(progress)

    async def ask(self, given: Sequence[Donor]) -> list[Description]:
        return [await fetch_description(self.client, donor.contact, RUN, TIER) for donor in given]


@asynccontextmanager
async def meeting(
    folder: Path, count: int, limits: CallLimits | None = None
) -> AsyncIterator[tuple[list[Donor], Newcomer]]:
    """So many donors and a newcomer."""
    async with donors(folder, count, limits) as made, joiner_client() as client:
        yield made, Newcomer(folder, client)


def test_parameters_come_from_four_donors_at_once(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 4, SLOW) as (given, newcomer):
            sealed = make_parameters(7)
            for donor in given:
                donor.give(sealed, 7)
            fetched = await newcomer.fetch(given)
            assert fetched.offer == offer_of(sealed, 7)
            assert set(fetched.sources) == {donor.host.person.peer for donor in given}
            assert fetched.seconds > 0
            assert {one.source for one in newcomer.progress} == set(fetched.sources)
            assert newcomer.progress[-1].chunks_here == CHUNKS
            assert newcomer.store.has(sealed.blob_hash)
            assert all(donor.offers.wanted_tiers() == {TIER} for donor in given)

    asyncio.run(play())


def test_everyone_with_the_same_parameters_makes_the_same_blob() -> None:
    assert make_parameters(7).blob_hash == make_parameters(7).blob_hash
    assert make_parameters(7).blob_hash != make_parameters(8).blob_hash


def test_what_most_make_is_taken_and_of_that_the_newest(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 3) as (given, newcomer):
            for donor in given:
                for number in (5, 7):
                    donor.give(make_parameters(number), number)
            given[0].give(make_parameters(9), 9)
            assert (await newcomer.fetch(given)).offer.param_round == 7
            newest = Wanted(TIER, range(8, 100))
            assert (await newcomer.fetch(given, newest)).offer.param_round == 9

    asyncio.run(play())


def test_a_donor_with_another_rounds_parameters_is_named_and_the_next_offer_taken(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 3) as (given, newcomer):
            wrong = given[0].give(make_parameters(3, says_round=9), 9)
            honest = [donor.give(make_parameters(7), 7) for donor in given[1:]]
            wanted = Wanted(TIER, range(8, 100))
            with pytest.raises(Unavailable, match="root is not the log's after round 9") as caught:
                await newcomer.fetch(given, wanted)
            assert short_id(given[0].host.person.peer) in str(caught.value)
            assert newcomer.fetcher.refused[wrong].makers == {given[0].host.person.peer}
            judged = newcomer.judge.judged
            with pytest.raises(Unavailable, match=r"after 9 rounds from .*root is not the log's"):
                await newcomer.fetch(given, wanted)
            assert judged == [wrong]  # and not a second time
            fetched = await newcomer.fetch(given)
            assert fetched.offer == honest[0]

    asyncio.run(play())


def test_the_next_offer_is_taken_within_one_call(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 1) as (given, newcomer):
            wrong = given[0].give(make_parameters(3, says_round=9), 9)
            right = given[0].give(make_parameters(7), 7)
            fetched = await newcomer.fetch(given)
            assert fetched.offer == right
            assert list(newcomer.fetcher.refused) == [wrong]
            newcomer.progress.clear()
            assert (await newcomer.fetch(given)).sources == ()  # here already, and no other tried
            assert newcomer.progress == []

    asyncio.run(play())


def test_who_misled_us_once_counts_for_nothing_the_next_time(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 2) as (given, newcomer):
            given[0].give(make_parameters(3, says_round=9), 9)
            with pytest.raises(Unavailable):
                await newcomer.fetch(given[:1])
            given[0].give(make_parameters(4, says_round=12), 12)
            given[1].give(make_parameters(7), 7)
            assert (await newcomer.fetch(given)).offer.param_round == 7
            assert len(newcomer.fetcher.refused) == 1

    asyncio.run(play())


def test_an_offer_that_nobody_can_complete_is_left_for_the_next(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 2) as (given, newcomer):
            for donor in given:
                donor.give(make_parameters(9), 9, is_held=False)
                donor.give(make_parameters(7), 7)
            assert (await newcomer.fetch(given)).offer.param_round == 7
            assert newcomer.fetcher.refused == {}

    asyncio.run(play())


def test_a_size_that_is_not_the_blobs_is_a_fault(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 1) as (given, newcomer):
            sealed = make_parameters(7)
            given[0].host.store.add(sealed)
            claim = ParameterOffer(TIER, RoundIndex(7), sealed.blob_hash, 1000)
            given[0].offers.offer(claim)
            with pytest.raises(Unavailable, match="not the 1000 offered"):
                await newcomer.fetch(given)

    asyncio.run(play())


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(Tier(0), range(100)),
        Wanted(TIER, range(8, 100)),
        Wanted(TIER, {RoundIndex(5), RoundIndex(6), RoundIndex(8)}),
    ],
    ids=["another tier", "too old", "no root in the log"],
)
def test_when_nothing_fits_the_error_says_what_was_asked(wanted: Wanted, tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 2) as (given, newcomer):
            for donor in given:
                donor.give(make_parameters(7), 7)
            with pytest.raises(
                Unavailable, match=f"parameters of tier {wanted.tier}: none of the 2 peers"
            ):
                await newcomer.fetch(given, wanted)
            assert newcomer.progress == []

    asyncio.run(play())


def test_a_joiner_sees_no_blob_that_is_not_offered(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 1) as (given, newcomer):
            donor = given[0]
            hidden = donor.host.store.add(make_parameters(3))
            donor.give(make_parameters(7), 7)
            holdings = await newcomer.client.have(donor.contact, [hidden])
            assert [one.chunk_count for one in holdings] == [0]
            with pytest.raises(NotHeld, match="not a blob of this service"):
                await newcomer.client.manifest(donor.contact, BlobHash(hidden))
            stolen = ParameterOffer(TIER, RoundIndex(3), BlobHash(hidden), 1000)
            (description,) = await newcomer.ask(given)
            claimed = Description(description.contact, CONFIG, HEAD, Height(0), (stolen,))
            with pytest.raises(Unavailable, match="it has nothing we need"):
                await newcomer.fetcher.fetch([claimed], ROUNDS)
            assert not newcomer.store.has(BlobHash(hidden))

    asyncio.run(play())


def test_a_slow_line_is_no_reason_to_give_up(tmp_path: Path) -> None:
    """What other blobs have for their deadline is over long before the last chunk comes."""

    async def play() -> None:
        async with donors(tmp_path, 1, SLOW) as given, joiner_client() as client:
            newcomer = Newcomer(tmp_path, client, stall_s=30.0, deadline_s=0.2)
            given[0].give(make_parameters(7), 7)
            fetched = await newcomer.fetch(given)
            assert fetched.seconds > 0.2

    asyncio.run(play())


async def interrupted(newcomer: Newcomer, given: Sequence[Donor]) -> int:
    """Begin to fetch, and stop half way; how many chunks are here."""
    half_way = asyncio.Event()
    newcomer.on_progress = lambda progress: (
        half_way.set() if progress.chunks_here >= CHUNKS // 2 else None
    )
    fetching = asyncio.create_task(newcomer.fetch(given))
    await half_way.wait()
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    await newcomer.swarm.close()
    return newcomer.progress[-1].chunks_here


def test_what_was_begun_is_completed_though_there_is_something_newer(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 2, SLOW) as (given, newcomer):
            for donor in given:
                donor.give(make_parameters(7), 7)
            here = await interrupted(newcomer, given)
            for donor in given:
                donor.give(make_parameters(9), 9)
            newcomer.progress.clear()
            assert (await newcomer.fetch(given)).offer.param_round == 7
            assert newcomer.progress[0].chunks_here > here

    asyncio.run(play())


def test_what_was_begun_is_left_when_nobody_offers_it_any_more(tmp_path: Path) -> None:
    async def play() -> None:
        async with meeting(tmp_path, 2, SLOW) as (given, newcomer):
            for donor in given:
                donor.give(make_parameters(7), 7)
            await interrupted(newcomer, given)
            for donor in given:
                donor.offers.withdraw(make_parameters(7).blob_hash)
                donor.give(make_parameters(9), 9)
            assert (await newcomer.fetch(given)).offer.param_round == 9

    asyncio.run(play())
