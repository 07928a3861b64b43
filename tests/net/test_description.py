"""What a peer says of its run is checked before anybody believes it: on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from psyche_p2p.config import canonical_bytes, run_id
from psyche_p2p.config.problems import InvalidConfigError
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.errors import RemoteError
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, Height, RoundIndex, RunId, Tier, short_id
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.description import Description, fetch_description, most_described
from psyche_p2p.net.errors import Misbehaviour, UnknownRun
from psyche_p2p.net.methods import MAX_OFFERS
from psyche_p2p.net.services import Described
from psyche_p2p.wire import encode
from psyche_p2p.wire.bulk import ParameterOffer, RunDescription
from tests.coordinator.recorded import Recorded
from tests.coordinator.world import make_config
from tests.net.builders import (
    joiner_client,
    make_person,
    member_client,
    serve_joiners,
    serve_members,
)

SERVER, ALICE = make_person("server"), make_person("alice")
CONFIG = make_config(run={"total_rounds": 1})
RUN = run_id(CONFIG)
HEAD = Recorded(CONFIG).head
assert HEAD.founding is not None
OFFER = ParameterOffer(Tier(1), RoundIndex(7), BlobHash(b"o" * 32), 4096)
TOLD = RunDescription(
    canonical_bytes(CONFIG), encode(HEAD.genesis), encode(HEAD.founding), Height(5), (OFFER,)
)


@dataclass
class Told:
    """A run described just so; `asked_for` notes the wishes."""

    run_id: RunId
    description: RunDescription
    asked_for: list[Tier | None] = field(default_factory=list)

    def data_files(self) -> bytes:
        return b"the files"

    def schema(self) -> bytes:
        return b"the schema"

    def describe(self, wanted: Tier | None) -> RunDescription:
        self.asked_for.append(wanted)
        return self.description


def ask(
    folder: Path, described: Described | None, of_run: RunId = RUN, wanted: Tier | None = None
) -> list[Description]:
    """What a joiner and a member each learn from the same peer."""

    async def play() -> list[Description]:
        async with (
            serve_members(SERVER, folder, [ALICE], described=described) as host,
            serve_joiners(host, [], described=described) as joiners,
            joiner_client() as joining,
            member_client(ALICE) as member,
        ):
            as_joiner = host.contact(joiners.ports[0])
            return [
                await fetch_description(joining, as_joiner, of_run, wanted),
                await fetch_description(member, host.contact(), of_run, wanted),
            ]

    return asyncio.run(play())


def test_a_run_is_described_to_joiners_and_members(tmp_path: Path) -> None:
    told = Told(RUN, TOLD)
    for description in ask(tmp_path, told, wanted=Tier(1)):
        assert description.contact.peer == SERVER.peer
        assert description.config == CONFIG
        assert description.head == HEAD
        assert (description.height, description.offers) == (5, (OFFER,))
    assert told.asked_for == [1, 1]


def test_a_run_that_has_not_begun_has_no_genesis(tmp_path: Path) -> None:
    told = Told(RUN, RunDescription(TOLD.config, None, None, Height(0), ()))
    for description in ask(tmp_path, told):
        assert description.head is None
    assert told.asked_for == [None, None]


@pytest.mark.parametrize("described", [None, Told(RunId(b"o" * 32), TOLD)], ids=["none", "other"])
def test_a_peer_that_is_not_in_the_run_says_so(described: Told | None, tmp_path: Path) -> None:
    with pytest.raises(UnknownRun) as caught:
        ask(tmp_path, described)
    assert str(caught.value) == (
        f"peer {short_id(SERVER.peer)} is in another run or in none; "
        "check the run's id, or ask a peer that is in this run"
    )


def test_a_config_with_another_hash_is_refused_with_both(tmp_path: Path) -> None:
    other = canonical_bytes(make_config(run={"total_rounds": 2}))
    with pytest.raises(Misbehaviour, match="config whose hash differs") as caught:
        ask(tmp_path, Told(RUN, replace(TOLD, config=other)))
    for said in (hash_bytes(other).hex(), RUN.hex(), short_id(SERVER.peer)):
        assert said in str(caught.value)


def test_a_config_that_hashes_right_and_means_nothing_is_a_config_error(tmp_path: Path) -> None:
    junk = b"psyche-p2p run config 2\n{}"
    wanted = RunId(hash_bytes(junk))
    with pytest.raises(InvalidConfigError, match=short_id(SERVER.peer)):
        ask(tmp_path, Told(wanted, replace(TOLD, config=junk)), wanted)


def _of_another_run(told: RunDescription) -> RunDescription:
    return replace(told, genesis=encode(replace(HEAD.genesis, run_id=RunId(b"o" * 32))))


def _later(told: RunDescription) -> RunDescription:
    return replace(told, genesis=encode(replace(HEAD.genesis, time_ms=1)))


def _many_offers(told: RunDescription) -> RunDescription:
    return replace(told, offers=(OFFER,) * (MAX_OFFERS + 1))


def _offer_of_tier_9(told: RunDescription) -> RunDescription:
    return replace(told, offers=(replace(OFFER, tier=Tier(9)),))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda told: replace(told, genesis=b"junk"), "genesis that cannot be read"),
        (lambda told: replace(told, founding=b"\xff"), "genesis that cannot be read"),
        (lambda told: replace(told, founding=None), "founders have not signed"),
        (_of_another_run, "the genesis of run"),
        (_later, "certificate is of another genesis"),
        (_many_offers, "offers of parameters"),
        (_offer_of_tier_9, "offers of parameters"),
    ],
)
def test_what_does_not_found_the_run_is_refused(
    spoil: Callable[[RunDescription], RunDescription], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(Misbehaviour, match=reason):
        ask(tmp_path, Told(RUN, spoil(TOLD)))


def test_a_description_larger_than_one_message_arrives(tmp_path: Path) -> None:
    """The genesis of thousands of founders: refused here for what it says, not for its size."""
    with pytest.raises(Misbehaviour, match="genesis that cannot be read"):
        ask(tmp_path, Told(RUN, replace(TOLD, genesis=bytes(7 << 20))))


def test_a_tier_that_no_run_has_is_not_a_request(tmp_path: Path) -> None:
    told = Told(RUN, TOLD)
    with pytest.raises(RemoteError, match="tier 8, at most 7 is possible"):
        ask(tmp_path, told, wanted=Tier(8))
    assert told.asked_for == []


OTHER = replace(HEAD, genesis=replace(HEAD.genesis, time_ms=1))


def claim(head: LogHead | None, height: int) -> Description:
    contact = Contact(SERVER.pinned, "127.0.0.1:1")
    return Description(contact, CONFIG, head, Height(height), ())


@pytest.mark.parametrize(
    ("claims", "chosen"),
    [
        ([], None),
        ([claim(None, 0)], None),
        ([claim(HEAD, 1), claim(None, 0), claim(None, 0)], HEAD),
        ([claim(HEAD, 3), claim(HEAD, 0), claim(OTHER, 1 << 60)], HEAD),
        ([claim(HEAD, 3), claim(OTHER, 4)], OTHER),
    ],
    ids=["nobody", "not begun", "one knows", "one claims more", "equals"],
)
def test_most_peers_and_not_the_boldest_say_how_the_run_began(
    claims: list[Description], chosen: LogHead | None
) -> None:
    assert most_described(claims) == chosen
