"""Random schedules: whatever goes wrong within the bounds, no promise is broken."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from psyche_p2p.sim.schedule import random_schedule
from psyche_p2p.sim.shrink import describe, replay_command, shrink
from psyche_p2p.sim.world import World

SAMPLES = os.environ.get("PSYCHE_TEST_SAMPLES", "default")
COUNT = {"fast": 40, "default": 500, "long": 10_000}[SAMPLES]
LARGE_COUNT = {"fast": 0, "default": 2, "long": 200}[SAMPLES]
BATCHES = 10
LIMIT_MS = 120_000
LARGE_LIMIT_MS = 18_000


def _require_no_violation(
    seed: int, peers: int | None, liars: int | None, limit_ms: int, *, is_uniform: bool = False
) -> None:
    schedule = random_schedule(seed, peers, liars, rounds=3)
    if is_uniform:
        schedule = replace(schedule, tiers=())
    result = World(schedule).run(limit_ms)
    if result.violations:
        smallest = shrink(schedule, lambda one: bool(World(one).run(limit_ms).violations))
        pytest.fail(
            f"{result.violations[0]}\n{describe(smallest)}\n"
            f"again: {replay_command(smallest, schedule)}"
        )


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_promise_is_broken_in_small_networks(batch: int) -> None:
    """1 to 13 peers; from 4 on as many liars as a quorum can bear, below that only crashes."""
    for seed in range(batch, COUNT, BATCHES):
        _require_no_violation(seed, None, None, LIMIT_MS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(LARGE_COUNT))
def test_no_promise_is_broken_among_64_with_21_liars(seed: int) -> None:
    _require_no_violation(1_000_000 + seed, 64, 21, LARGE_LIMIT_MS)


@pytest.mark.parametrize("seed", [9037, 9264])
def test_a_liar_that_contradicts_itself_is_not_taken_for_an_honest_peer(seed: int) -> None:
    """Found by the 10,000: a double voter's proof of a block repeats both of its own votes."""
    _require_no_violation(seed, None, None, LIMIT_MS, is_uniform=True)


def test_a_schedule_is_its_seed() -> None:
    first, second = (World(random_schedule(7)).run(LIMIT_MS) for _ in range(2))
    assert first == second
