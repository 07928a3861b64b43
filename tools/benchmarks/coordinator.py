"""What a block of the run's log costs: to see that it is due, to make, to apply, and in bytes.

Each case is a round of n trainers in which everyone has done everything, the largest kind of block.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import report, time_in_turns

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' run in memory

from psyche_p2p.coordinator import apply, due_commands, encode_state, state_root
from psyche_p2p.coordinator.signed import trust
from psyche_p2p.wire import Phase, encode
from tests.coordinator.world import World, make_config, make_join

SIZES = (4, 16, 64, 256)
REPEATS = 5


def main(_arguments: list[str]) -> int:
    for size in SIZES:
        _measure(size)
    return 0


def _measure(size: int) -> None:
    batch = {"global_batch_size_start": 4 * size, "global_batch_size_end": 4 * size}
    joins = {index: make_join() for index in range(1, size + 1)}
    world = World.start(make_config(rounds=batch), joins)
    world.run_until(Phase.TRAIN, rounds=1)
    world.wait(10)
    heard = world.heard()
    commands = due_commands(world.state, heard, world.clock_ms)
    block = world.propose(commands)
    after = apply(world.state, block)
    contenders: dict[str, Callable[[], object]] = {
        "due": lambda: due_commands(world.state, heard, world.clock_ms),
        "propose": lambda: world.propose(commands),
        "apply": lambda: apply(world.state, block),
        "apply_unsigned": lambda: apply(world.state, block, trust),
        "state_root": lambda: state_root(after),
    }
    for name, seconds in time_in_turns(contenders, REPEATS).items():
        report(f"coordinator_{name}", 1000 * statistics.median(seconds), "ms", trainers=size)
    report("coordinator_block", len(encode(block)), "bytes", trainers=size)
    report("coordinator_state", len(encode_state(after)), "bytes", trainers=size)
