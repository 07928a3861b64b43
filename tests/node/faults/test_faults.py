"""What a run survives: processes that die or stand still, and memory that fails.

Four peers, epochs of seconds, and members that are dropped after two missed rounds: whoever is hurt
is dropped, and has to be back in the next epoch. The tests share one network, which has to be well
before each of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from localnet_parts.processes import children

from psyche_p2p.observe.events import Diverged, Resynced
from tests.node.faults.network import Network, liar

pytestmark = pytest.mark.slow

TIERS = (0, 0, 0, 1)
SHORT_EPOCHS = (
    "rounds.epoch_s=12",
    "rounds.warmup_s=10",
    "rounds.max_round_train_s=10",
    "rounds.cooldown_s=0.5",
    "members.waiting_for_members_extra_s=1.0",
    "members.init_min_members=3",
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("network")
    with Network(folder, TIERS, SHORT_EPOCHS, {2: liar("die-proposing,corrupt")}) as network:
        yield network


@pytest.fixture
def network(shared: Network) -> Network:
    shared.until_back(*shared.peers)
    return shared


def test_a_trainer_is_killed_in_mid_round(network: Network) -> None:
    victim = network.peers[3]
    trainer = children(victim.pid)["trainer"]
    os.kill(trainer, signal.SIGSTOP)
    network.rounds_pass(2)  # so that it certainly holds something unfinished
    os.kill(trainer, signal.SIGKILL)
    network.until(
        "the trainer is started again",
        lambda: network.has_restarted(victim, "trainer"),
    )
    network.until_back(*network.peers)
    network.require_equal_roots()


def test_the_daemon_is_killed(network: Network) -> None:
    victim = network.peers[1]
    os.kill(children(victim.pid)["daemon"], signal.SIGKILL)
    network.until(
        "the daemon is started again",
        lambda: network.has_restarted(victim, "daemon"),
    )
    network.until_back(*network.peers)
    network.require_equal_roots()


def test_parameters_change_in_memory(network: Network) -> None:
    victim = network.peers[2]
    network.order(victim, "corrupt")
    network.until("it notices", lambda: bool(network.noted(victim, Diverged)))
    network.until("it takes the others'", lambda: bool(network.noted(victim, Resynced)))
    # the others name it too, unless it noticed before it attested; never anybody else
    for peer in network.peers:
        assert not any(network.accusations(peer, one) for one in network.peers if one is not victim)
    network.until_back(*network.peers)
    network.require_equal_roots(besides=[victim])


def test_a_node_is_killed_and_started_again(network: Network) -> None:
    victim, first = network.peers[3], network.peers[0]
    drops = network.changes(first, victim).count("dropped")
    network.kill(victim)
    network.until("it is dropped", lambda: network.changes(first, victim).count("dropped") > drops)
    network.start_again(victim)
    network.until_back(*network.peers)
    network.require_equal_roots(besides=[network.peers[2]])


@pytest.mark.long
def test_a_member_is_stopped_until_it_is_dropped(network: Network) -> None:
    victim, first = network.peers[1], network.peers[0]
    stopped = [victim.pid, *children(victim.pid).values()]
    drops = network.changes(first, victim).count("dropped")
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        network.until(
            "it is dropped", lambda: network.changes(first, victim).count("dropped") > drops
        )
        network.rounds_pass(20)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    network.until_back(*network.peers)
    network.require_equal_roots(besides=[network.peers[2]])
