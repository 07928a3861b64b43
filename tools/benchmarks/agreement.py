"""Agreement in the simulator: messages, bytes and latency a round against the number of peers.

Committees are the run's default: everyone, up to 32.
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.report import report
from psyche_p2p.sim.network import LinkModel
from psyche_p2p.sim.schedule import Schedule
from psyche_p2p.sim.world import World

LIMIT_MS = 3_600_000


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    for peers in options.peers:
        _measure(peers, options.rounds, options.latency)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/bench agreement",
        description=__doc__,
        epilog="Example: tools/bench agreement --peers 4 64 --rounds 5",
    )
    parser.add_argument("--peers", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=int, default=50, help="link delay in ms")
    return parser.parse_args(arguments)


def _measure(peers: int, rounds: int, latency_ms: int) -> None:
    links = LinkModel(latency_ms=latency_ms, jitter_ms=latency_ms // 5)
    schedule = Schedule(seed=1, peers=peers, rounds=rounds, links=links)
    began_s = time.process_time()
    result = World(schedule).run(LIMIT_MS)
    details = {"peers": peers, "rounds": result.rounds_decided, "is_finished": result.is_finished}
    report("messages_per_round", round(result.messages_per_round), "", **details)
    report("bytes_per_round", round(result.bytes_per_round), "B", **details)
    p50_ms = statistics.median(result.decide_latencies_ms)
    report("decide_latency_p50", p50_ms, "ms", **details)
    report("simulation_cpu", round(time.process_time() - began_s, 1), "s", **details)
