"""What a peer costs that has nothing to do: waiting for members, and while a long step is trained.

    tools/bench idle

Percent of one core, of the node and of its daemon, mean over peers: of the quietest half minute of
a run that lacks a member, and of the quietest ten seconds of a run whose steps take twenty.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

import click

from benchmarks.report import report
from benchmarks.rounds.network import Ran, Wanted, record, run_network
from benchmarks.rounds.samples import Sample

ROOT = Path(__file__).resolve().parents[2]
_CONFIG = ROOT / "configs" / "nanogpt-20m.toml"
_WAIT_S, _STEP_S, _ROUNDS = 30.0, 20.0, 4
_START_S = 25.0
_QUIET_S = 10.0


@click.command(help=__doc__, epilog="Example: tools/bench idle --peers 3")
@click.option("--peers", type=click.IntRange(1), default=3, show_default=True)
def bench(peers: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="psyche-idle-"))
    wait_s = _START_S + _WAIT_S
    lacking = (f"members.init_min_members={peers + 1}",)
    waiting = Wanted(_CONFIG, peers, 1, _STEP_S, None, lacking, exit_after_s=wait_s)
    training = Wanted(_CONFIG, peers, _ROUNDS, _STEP_S, None)
    try:
        record(training, folder)
        for name, wanted, window_s in (
            ("waiting", waiting, _WAIT_S),
            ("training", training, _QUIET_S),
        ):
            network = folder / name
            network.mkdir()
            _report(name, run_network(wanted, network, folder), window_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str]) -> int:
    bench.main(args=arguments, prog_name="tools/bench idle", standalone_mode=False)
    return 0


def _report(name: str, ran: Ran, window_s: float) -> None:
    parts: dict[str, Callable[[Sample], float]] = {
        "node": lambda one: one.node_s,
        "daemon": lambda one: one.daemon_s,
    }
    for part, seconds_of in parts.items():
        shares = [min(_shares(samples, window_s, seconds_of)) for samples in ran.samples]
        report(f"idle.{name}_{part}", round(100 * fmean(shares), 2), "% of a core")
    rss = max(samples[-2].rss_bytes for samples in ran.samples)
    report(f"idle.{name}_rss", round(rss / (1 << 20), 1), "MiB")


def _shares(
    samples: Sequence[Sample], window_s: float, seconds_of: Callable[[Sample], float]
) -> Iterator[float]:
    """The share of a core used in every window of this length."""
    for first, begin in enumerate(samples):
        for end in samples[first:]:
            elapsed_s = (end.time_ms - begin.time_ms) / 1000
            if elapsed_s >= window_s - 1.5:
                used_s = seconds_of(end) - seconds_of(begin)
                if used_s >= 0:  # a process that ended has used nothing
                    yield used_s / elapsed_s
                break
