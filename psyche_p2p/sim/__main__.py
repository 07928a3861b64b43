"""`python -m psyche_p2p.sim`: simulate one run, report it, draw it; look for a failing one."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import click

from psyche_p2p.coordinator import tolerated_liars
from psyche_p2p.errors import ExitCode, PsycheError
from psyche_p2p.files import write_atomically
from psyche_p2p.sim.network import LinkModel
from psyche_p2p.sim.schedule import TEACHING_LIES, Lie, Schedule, random_schedule
from psyche_p2p.sim.shrink import describe, reduce_schedule, replay_command, shrink
from psyche_p2p.sim.timeline import draw_timeline
from psyche_p2p.sim.trace import Trace
from psyche_p2p.sim.world import Result, World

LIMIT_MS = 600_000
PROGRESS_S = 2.0


def _indices(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.split(",") if part)
    except ValueError as error:
        raise click.BadParameter("must be numbers with commas between") from error


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m psyche_p2p.sim --peers 7 --liars 2 --loss 0.05 --rounds 10 --json",
)
@click.option("--peers", type=click.IntRange(1, 256), default=None, help="How many peers.")
@click.option("--liars", type=click.IntRange(0, 255), default=None, help="How many of them lie.")
@click.option("--loss", type=click.FloatRange(0, 0.9), default=0.0, help="Share of messages lost.")
@click.option("--rounds", type=click.IntRange(1, 100_000), default=None, help="Rounds to train.")
@click.option("--seed", type=int, default=0, show_default=True, help="Everything follows from it.")
@click.option("--latency", type=click.IntRange(0, 10_000), default=50, help="Link delay in ms.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--timeline",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the run as an HTML page.",
)
@click.option("--random", "is_random", is_flag=True, help="Draw faults and links from the seed.")
@click.option("--schedules", type=int, default=1, help="With --random: so many seeds, rising.")
@click.option(
    "--without", callback=_indices, default="", help="With --random: faults to leave out."
)
@click.option("--truthful", callback=_indices, default="", help="With --random: liars not to lie.")
@click.option("--clean-links", is_flag=True, help="With --random: links that only delay.")
def simulate(
    peers: int | None,
    liars: int | None,
    loss: float,
    rounds: int | None,
    seed: int,
    latency: int,
    as_json: bool,
    timeline: Path | None,
    is_random: bool,
    schedules: int,
    without: tuple[int, ...],
    truthful: tuple[int, ...],
    clean_links: bool,
) -> None:
    """Simulate a run on virtual time and check every promise at every event.

    Exit code 0 if no promise was broken, 11 if one was.
    """
    exits = click.get_current_context().exit
    if is_random and schedules > 1:
        exits(_search(range(seed, seed + schedules), peers, liars, rounds))
    if is_random:
        drawn = random_schedule(seed, peers, liars, rounds or 4)
        schedule = reduce_schedule(drawn, without, truthful, clean_links)
    else:
        schedule = _plain_schedule(peers or 4, liars or 0, loss, rounds or 10, seed, latency)
    trace = Trace(is_enabled=timeline is not None)
    result = World(schedule, trace).run(LIMIT_MS)
    if timeline is not None:
        _draw(schedule, trace, result, timeline)
    _print(result, as_json)
    exits(ExitCode.INVALID if result.violations else ExitCode.OK)


def _plain_schedule(
    peers: int, liars: int, loss: float, rounds: int, seed: int, latency: int
) -> Schedule:
    """Links as asked for; the last peers lie, each in its own ways."""
    if liars > tolerated_liars(peers):
        most = tolerated_liars(peers)
        click.echo(f"warning: {peers} peers tolerate {most} liars, not {liars}", err=True)
    ways = [lie for lie in Lie if lie not in TEACHING_LIES]
    cheating = tuple(
        (peers - 1 - number, (ways[number % len(ways)], ways[(number + 1) % len(ways)]))
        for number in reversed(range(min(liars, peers)))
    )
    links = LinkModel(latency_ms=latency, jitter_ms=latency // 5, loss=loss)
    return Schedule(seed=seed, peers=peers, rounds=rounds, links=links, liars=cheating)


def _search(seeds: range, peers: int | None, liars: int | None, rounds: int | None) -> int:
    """Run random schedules until one fails; shrink that one and say how to run it again."""
    told_s = time.monotonic()
    for seed in seeds:
        schedule = random_schedule(seed, peers, liars, rounds or 4)
        if _fails(schedule):
            smallest = shrink(schedule, _fails)
            click.echo(describe(smallest))
            click.echo(f"again: {replay_command(smallest, schedule)}")
            return ExitCode.INVALID
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            click.echo(f"{seed - seeds.start + 1} of {len(seeds)} schedules held", err=True)
    click.echo(f"{len(seeds)} schedules, no violation")
    return ExitCode.OK


def _fails(schedule: Schedule) -> bool:
    return bool(World(schedule).run(LIMIT_MS).violations)


def _draw(schedule: Schedule, trace: Trace, result: Result, path: Path) -> None:
    lies = {index: ", ".join(lie.value for lie in kinds) for index, kinds in schedule.liars}
    lanes = [f"peer {index} {lies.get(index, '')}" for index in range(schedule.peers)]
    summary = f"{result.rounds_decided} rounds, {len(result.violations)} violations, "
    summary += f"{result.virtual_ms / 1000:.1f} s of virtual time; move over a mark to read it"
    page = draw_timeline(trace, lanes, f"{schedule.peers} peers, seed {schedule.seed}", summary)
    write_atomically(path, page.encode())


def _print(result: Result, as_json: bool) -> None:
    latencies = result.decide_latencies_ms
    values: dict[str, Any] = {
        "rounds_decided": result.rounds_decided,
        "violations": len(result.violations),
        "messages_per_round": round(result.messages_per_round, 1),
        "bytes_per_round": round(result.bytes_per_round),
        "blob_bytes_per_round": round(result.blob_bytes_per_round),
        "decide_latency_ms_p50": statistics.median(latencies) if latencies else None,
        "virtual_s": result.virtual_ms / 1000,
        "is_finished": result.is_finished,
    }
    for violation in result.violations:
        click.echo(f"{violation.time_ms} ms: {violation.rule}: {violation.details}", err=True)
    if as_json:
        click.echo(json.dumps(values))
        return
    for name, value in values.items():
        click.echo(f"{name:24} {value}")


def main() -> int:
    """Run the command; an error that a person can mend becomes one line and its exit code."""
    try:
        return int(simulate.main(standalone_mode=False) or ExitCode.OK)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except PsycheError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
