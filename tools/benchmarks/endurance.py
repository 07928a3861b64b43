"""Does a peer grow? Two peers over many short rounds: memory, files, threads, tasks, objects.

    tools/bench endurance                 # 2,000 rounds of nano.toml, trainers that do not sleep
    tools/bench endurance --rounds 300

Each figure is the mean over the last tenth of the rounds less the mean over the tenth that begins
after the first fifth, when caches have been filled: what a peer gained in between. `since_middle`
is less the tenth half-way between these: what still grows then is no cache.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import click

from benchmarks.report import report
from benchmarks.rounds.network import Ran, Wanted, record, run_network
from psyche_p2p.observe.events import Recorded, RoundClosed

ROOT = Path(__file__).resolve().parents[2]
_MIB = 1 << 20
_BEGIN, _MIDDLE, _LATE, _TENTH = 0.2, 0.55, 0.9, 0.1


@click.command(help=__doc__, epilog="Example: tools/bench endurance --rounds 500")
@click.option("--peers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(500), default=2000, show_default=True)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=ROOT / "configs" / "nano.toml",
    help="The run's configuration.  [default: configs/nano.toml]",
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep homes and logs in this folder.")
def bench(peers: int, rounds: int, config: Path, keep: Path | None) -> int:
    folder = keep or Path(tempfile.mkdtemp(prefix="psyche-endurance-"))
    counts = folder / "counts"
    counts.mkdir(parents=True)
    program = (sys.executable, "-m", "benchmarks.rounds.counted_peer", str(counts))
    wanted = Wanted(config, peers, rounds, 0.0, None, program=program)
    try:
        record(wanted, folder)
        network = folder / "network"
        network.mkdir()
        ran = run_network(wanted, network, folder)
        for problem in ran.outcome.problems:
            print(f"FAILED {problem}", file=sys.stderr)
        if ran.outcome.ok:
            _report(ran, counts)
        return int(not ran.outcome.ok)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str]) -> int:
    return int(bench.main(args=arguments, prog_name="tools/bench endurance", standalone_mode=False))


def _report(ran: Ran, counts: Path) -> None:
    early, middle, late = (_window(ran.events[0], begin) for begin in (_BEGIN, _MIDDLE, _LATE))
    details = {"peers": len(ran.events), "rounds": ran.outcome.rounds}
    lines = [_read(path) for path in sorted(counts.iterdir())]
    sampled = [
        [
            {
                "time_ms": one.time_ms,
                "rss": one.rss_bytes / _MIB,
                "files": one.files,
                "threads": one.threads,
            }
            for one in samples
        ]
        for samples in ran.samples
    ]
    for series, names in ((sampled, ("rss", "files", "threads")), (lines, ("tasks", "objects"))):
        for name in names:
            at_end = [_mean(one, name, late) for one in series]
            since_early, since_middle = (
                round(
                    max(
                        end - _mean(one, name, window)
                        for end, one in zip(at_end, series, strict=True)
                    ),
                    2,
                )
                for window in (early, middle)
            )
            report(
                f"endurance.{name}",
                since_early,
                "MiB" if name == "rss" else "",
                since_middle=since_middle,
                at_end=round(max(at_end), 1),
                **details,
            )
    seconds = (late[1] - early[0]) / 1000
    report("endurance.round", round(seconds / (0.8 * ran.outcome.rounds), 4), "s", **details)


def _window(events: Sequence[Recorded], begin: float) -> tuple[int, int]:
    """From when to when a tenth of the rounds was closed, which begins after this share of them."""
    closed = [one.time_ms for one in events if isinstance(one.event, RoundClosed)]
    last = len(closed) - 1
    return closed[int(begin * last)], closed[int((begin + _TENTH) * last)]


def _mean(series: Sequence[Mapping[str, float]], name: str, window: tuple[int, int]) -> float:
    return fmean(one[name] for one in series if window[0] <= one["time_ms"] <= window[1])


def _read(path: Path) -> list[dict[str, float]]:
    return list(_parsed(path.read_text().splitlines()))


def _parsed(lines: Sequence[str]) -> Iterator[dict[str, float]]:
    for line in lines:
        if line.endswith("}"):  # not one that a killed process left half-written
            yield json.loads(line)
