"""Members that stop and come back within one epoch: they take part again without a new one.

One long epoch, and members that may miss a thousand rounds: whoever comes back is a member still.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from threading import Event, Timer

import pytest
from localnet_parts.processes import children

from psyche_p2p.observe.events import MemberChanged
from tests.node.faults.network import Network, liar
from tests.node.faults.test_faults import TIERS

pytestmark = pytest.mark.long

STOPPED_S = 30.0
ONE_EPOCH = (
    "rounds.epoch_s=3000",
    "rounds.max_round_train_s=10",
    "members.max_missed_rounds=1000",
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("network")
    with Network(folder, TIERS, ONE_EPOCH, {2: liar("die-proposing")}) as network:
        yield network


@pytest.fixture
def network(shared: Network) -> Iterator[Network]:
    shared.until_back(*shared.peers)
    yield shared
    assert all(peer.tally.phase == "TRAIN" for peer in shared.peers)  # still the first epoch
    for peer in shared.peers:
        assert {one.what for one in _changes(shared, peer)} <= {"admitted"}


def test_a_member_is_stopped_for_half_a_minute(network: Network) -> None:
    victim = network.peers[1]
    stopped = [victim.pid, *children(victim.pid).values()]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    over = Event()
    alarm = Timer(STOPPED_S, over.set)
    alarm.start()
    try:
        before = network.last_round
        network.until("half a minute is over", over.is_set)
        passed = network.last_round - before
    finally:
        alarm.cancel()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert passed >= 5, "the others did not go on"
    network.until_back(*network.peers)
    missed = range(before + 4, before + passed - 2)
    trained = set(victim.tally.losses)
    assert not trained.intersection(missed), "it trained rounds that were long over"
    network.require_equal_roots()


def test_a_node_is_killed_and_started_again(network: Network) -> None:
    victim = network.peers[0]
    network.kill(victim)
    network.rounds_pass(8)
    network.start_again(victim)
    network.until_back(*network.peers)
    network.require_equal_roots()


def test_the_proposer_is_killed(network: Network) -> None:
    victim = network.peers[2]
    network.order(victim, "die-proposing")
    network.until_ended(victim)
    assert victim.exit_code == -signal.SIGKILL
    network.rounds_pass(8)
    network.start_again(victim)
    network.until_back(*network.peers)
    network.require_equal_roots()


def _changes(network: Network, peer: object) -> list[MemberChanged]:
    return [
        event
        for one in network.peers
        if one is peer
        for event in one.tally.noted
        if isinstance(event, MemberChanged)
    ]
