"""Progress: what one dead member costs, and how soon a healed network decides."""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest

from psyche_p2p.consensus import Timeouts
from psyche_p2p.coordinator import tolerated_liars
from psyche_p2p.sim.network import LinkModel
from psyche_p2p.sim.schedule import Fault, FaultKind, Schedule
from psyche_p2p.sim.trace import Mark, Trace
from psyche_p2p.sim.world import World

LATENCY_MS = 50
LINKS = LinkModel(latency_ms=LATENCY_MS, jitter_ms=10)
NEVER_MS = 10_000_000


def bound_ms(peers: int, view: int, delay_ms: int) -> int:
    """docs/protocol.md, "Bounds": from healing to the decision, from the highest view reached."""
    timeouts = Timeouts()
    faulty = tolerated_liars(peers) + 1
    views = range(view, view + faulty + 1)
    lasting = sum(
        timeouts.propose_ms + 2 * timeouts.vote_ms + 3 * one * timeouts.growth_ms + 3 * delay_ms
        for one in views
    )
    return timeouts.resend_ms + delay_ms + lasting


@pytest.mark.parametrize("peers", [1, 2, 3, 4, 7, 13])
def test_a_decision_takes_less_than_four_delays(peers: int) -> None:
    result = World(Schedule(seed=1, peers=peers, rounds=10, links=LINKS)).run(600_000)
    assert result.is_finished
    assert result.view_changes == 0
    assert statistics.median(result.decide_latencies_ms) < 4 * LATENCY_MS


@pytest.mark.parametrize("dead", range(4))
def test_a_dead_member_costs_at_most_one_view_and_no_deadline(dead: int) -> None:
    """It dies in training; the others go on and drop it, waiting for no round's deadline."""
    fault = Fault(FaultKind.CRASH, at_ms=1500, duration_ms=NEVER_MS, peers=(dead,))
    trace = Trace(is_enabled=True)
    world = World(Schedule(seed=3, peers=4, rounds=20, links=LINKS, faults=(fault,)), trace)
    world.run(60_000)
    alive = [peer for peer in world.peers if peer.index != dead]
    assert [peer.state.closed_count for peer in alive] == [20] * 3
    decided = [one for one in trace.moments if one.mark is Mark.DECISION]
    late = {one.text for one in decided if not one.text.endswith("view 0")}
    assert len(late) <= 1
    dropped = alive[0].state.find_member(world.peer_id(dead))
    assert dropped is None or dropped.status.name != "ACTIVE"
    times = sorted({one.time_ms for one in decided if one.peer == alive[0].index})
    pauses = [later - earlier for earlier, later in pairwise(times)]
    max_round_train_ms = 8000
    assert max(pauses) < max_round_train_ms


@pytest.mark.parametrize(
    ("peers", "seed"), [(2, 0), (3, 0), (4, 0), (4, 1), (4, 2), (7, 0), (10, 0)]
)
def test_a_healed_network_decides_within_the_bound(peers: int, seed: int) -> None:
    """Two halves cannot talk for ten seconds; a block is due on both sides all the while."""
    healed_ms = 12_000
    halves = tuple(range(peers // 2 + peers % 2))
    split = Fault(FaultKind.PARTITION, 2000, healed_ms - 2000, halves)
    world = World(Schedule(seed=seed, peers=peers, rounds=60, links=LINKS, faults=(split,)))
    before: dict[str, int] = {}

    def note() -> None:
        before["height"] = max(peer.state.height for peer in world.peers)
        before["view"] = max(peer.core.state.view for peer in world.peers)

    world.loop.call_at(healed_ms, note)
    bound = bound_ms(peers, 0, LINKS.latency_ms + LINKS.jitter_ms)
    world.run(healed_ms + bound)
    bound_seen = bound_ms(peers, before["view"], LINKS.latency_ms + LINKS.jitter_ms)
    assert bound_seen >= bound
    assert all(peer.state.height > before["height"] for peer in world.peers)


@pytest.mark.parametrize("peers", [1, 4])
def test_a_finished_run_is_silent_but_for_pulls(peers: int) -> None:
    world = World(Schedule(seed=2, peers=peers, rounds=2, links=LINKS))
    world.run(600_000)
    for peer in world.peers:
        assert peer.core.next_deadline() is None
