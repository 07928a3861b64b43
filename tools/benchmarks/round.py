"""What a round costs beside training: real peers whose trainers sleep and repeat a recorded update.

    tools/bench round                     # 8 peers, with 50 ms and 100 Mbit/s emulated, and without
    tools/bench round --peers 2 --peers 4 --peers 8 --peers 16 --wan none
    tools/bench round --keep DIR --program "python -m cProfile ..."

`round.training_share` is the mean over peers of the time spent in training steps through the wall
time, after the first two rounds, at the configuration's `pipeline_depth`. The rest says where the
time of a round goes once its last batch is trained, and what the peers' processes used.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
from wan_emulation.profile import parse_profile

from benchmarks.report import report
from benchmarks.rounds.figures import Costs, Parts, compute_costs, compute_parts
from benchmarks.rounds.network import Ran, Wanted, record, run_network

ROOT = Path(__file__).resolve().parents[2]
_PATH = "50ms,0,100mbit"
_NOT_EMULATED = "none"


@click.command(help=__doc__, epilog="Example: tools/bench round --peers 8 --wan none --rounds 10")
@click.option("--peers", multiple=True, type=click.IntRange(1, 64), default=(8,), show_default=True)
@click.option(
    "--wan",
    "paths",
    multiple=True,
    default=(_PATH, _NOT_EMULATED),
    show_default=True,
    help="DELAY,LOSS,RATE one way between any two peers (needs root), or none.",
)
@click.option("--rounds", type=click.IntRange(4), default=20, show_default=True)
@click.option("--step-s", type=click.FloatRange(0), default=2.0, show_default=True)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=ROOT / "configs" / "nanogpt-20m.toml",
    help="The run's configuration.  [default: configs/nanogpt-20m.toml]",
)
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Of the run.")
@click.option("--program", default="", help="What a peer is, instead of psyche-peer.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep homes and logs in this folder.")
def bench(
    peers: tuple[int, ...],
    paths: tuple[str, ...],
    rounds: int,
    step_s: float,
    config: Path,
    changes: tuple[str, ...],
    program: str,
    keep: Path | None,
) -> int:
    folder = keep or Path(tempfile.mkdtemp(prefix="psyche-round-"))
    folder.mkdir(parents=True, exist_ok=True)
    has_failed = False
    words = tuple(shlex.split(program))
    networks = [(count, path) for count in peers for path in paths]
    try:
        for number, (count, path) in enumerate(networks):
            profile = None if path == _NOT_EMULATED else parse_profile(path)
            wanted = Wanted(config, count, rounds, step_s, profile, changes, words)
            if number == 0:
                record(Wanted(config, max(peers), rounds, step_s, None), folder)
            ran = run_network(wanted, _new_folder(folder, count, path), folder)
            has_failed |= not _report(wanted, ran, path)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return int(has_failed)


def main(arguments: list[str]) -> int:
    return int(bench.main(args=arguments, prog_name="tools/bench round", standalone_mode=False))


def _new_folder(folder: Path, count: int, path: str) -> Path:
    made = folder / f"{count}-{path.replace(',', '-')}"
    made.mkdir()
    return made


def _report(wanted: Wanted, ran: Ran, path: str) -> bool:
    """Print the figures; whether the network did what it should."""
    details = {"peers": wanted.peers, "wan": path, "load": round(os.getloadavg()[0], 1)}
    for problem in ran.outcome.problems:
        print(f"FAILED {problem}", file=sys.stderr)
    if ran.outcome.ok:
        parts, costs = compute_parts(ran), compute_costs(ran)
        _report_all(parts, costs, ran, details)
    return ran.outcome.ok


def _report_all(parts: Parts, costs: Costs, ran: Ran, details: dict[str, object]) -> None:
    report("round.training_share", round(parts.share, 4), "", **details)
    for name, value in asdict(parts).items():
        if name != "share":
            unit = "" if name == "worst_share" else "s"
            report(f"round.{name.removesuffix('_s')}", round(value, 3), unit, **details)
    for name, value in asdict(costs).items():
        if name.endswith("_s"):
            milliseconds = round(1000 * value, 1)
            report(f"round.cpu_{name.removesuffix('_s')}", milliseconds, "ms/round", **details)
    report("round.node_rss", round(costs.rss_bytes / (1 << 20), 1), "MiB", **details)
    report("round.node_files", costs.files, "", **details)
    sent = ran.outcome.bytes_per_peer_round or 0.0
    report("round.sent_per_peer", round(sent / 1000, 1), "kB/round", **details)
