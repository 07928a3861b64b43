"""Members that stop and come back within one epoch: they take part again without a new one.

One long epoch, and members that may miss a thousand rounds: whoever comes back is a member still.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from threading import Event, Timer

import pytest
from localnet_parts.processes import children

from psyche_p2p.errors import ExitCode
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
        assert {one.what for one in shared.noted(peer, MemberChanged)} <= {"admitted"}


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


def test_a_disk_is_full_and_has_room_again(network: Network) -> None:
    victim = network.peers[3]
    log = next(victim.home.glob("runs/*/log"))
    room = log.stat().st_size + 100  # the next block is cut short
    for pid in (victim.pid, children(victim.pid)["trainer"]):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    network.until_ended(victim)
    assert victim.exit_code == ExitCode.STORAGE
    assert "free some space" in victim.last_words()
    network.start_again(victim)
    network.until_back(*network.peers)
    network.require_equal_roots()


def test_everyone_is_killed_at_once(network: Network) -> None:
    last = network.last_round
    network.kill(*network.peers)
    first, *others = network.peers
    network.start_again(first)
    network.until("the first peer listens", lambda: bool(first.tally.addresses))
    for peer in others:
        network.start_again(peer)
    network.until_back(*network.peers)
    assert last < min(network.peers[0].tally.roots.keys() - set(range(last + 1)))
    network.require_equal_roots()
