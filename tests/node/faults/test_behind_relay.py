"""A trainer that nobody can dial: its updates count, through the bootstrap peer's relay.

Its only address for blobs is the relay's, so every update of its that is accepted came that way.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_emulation.namespaces import why_unavailable
from wan_emulation.profile import PathProfile
from wan_emulation.wan import Wan

from tests.node.faults.network import Network
from tests.node.faults.seed_node import SeedNode

pytestmark = [pytest.mark.slow, pytest.mark.long]  # a minute each on a busy machine

REASON = why_unavailable()
TIERS = (0, 2, 2)
SEED_PLACE = 3
HIDDEN = 2
NOWHERE = "127.0.0.99"  # nobody listens there
SHORT_ROUNDS = (
    "rounds.epoch_s=3600",
    "rounds.max_round_train_s=6",
    "members.waiting_for_members_extra_s=1.0",
    "members.max_missed_rounds=100",  # nobody is dropped: who is back counts at once
)


def words_of(seed: SeedNode, hidden: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    meet = ("--bootstrap", seed.address)
    return {0: meet, 1: meet, HIDDEN: (*meet, *hidden)}


def test_a_hidden_trainer_takes_part_and_survives_the_relays_death(tmp_path: Path) -> None:
    with SeedNode(tmp_path) as seed:
        words = words_of(seed, ("--reach", "relay", "--announce", NOWHERE))
        with Network(tmp_path, TIERS, SHORT_ROUNDS, words=words) as network:
            hidden = network.peers[HIDDEN]
            seed.kill()
            killed_at = network.last_round
            network.until("rounds close without it", lambda: misses(network, killed_at) > 0)
            seed.start()
            network.until_back(hidden)
            network.require_equal_roots()


def misses(network: Network, since: int) -> int:
    """The closed rounds since then that others contributed to, and the hidden peer did not."""
    first, hidden = network.peers[0].tally, network.peers[HIDDEN].tally
    return sum(
        bool(accepted) and hidden.peer not in accepted
        for index, accepted in first.accepted.items()
        if index > since
    )


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_a_trainer_behind_a_router_finds_that_out_and_takes_part(tmp_path: Path) -> None:
    links = [PathProfile(delay_ms=5.0, is_closed=place == HIDDEN) for place in range(4)]
    with (
        Wan(links) as wan,
        SeedNode(tmp_path, wan, SEED_PLACE) as seed,
        Network(tmp_path, TIERS, SHORT_ROUNDS, words=words_of(seed, ()), wan=wan) as network,
    ):
        network.until_back(*network.peers)
        log = network.peers[HIDDEN].log_path.read_text()
        assert "verdict=unreachable" in log
        assert "others reach this machine through a relay" in log
        tallies = [peer.tally for peer in network.peers]
        network.until("a root is agreed", lambda: any(one.agreed_roots for one in tallies))
        network.require_equal_roots()
