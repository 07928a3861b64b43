"""tools/soak: a network that is hurt at random for as long as wanted, and has to bear it."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import click
from localnet_parts.command import (
    make_display,
    network,
    parse_tiers,
    program_words,
    require_folder_of,
    stop_on_signals,
    work_folder,
)
from localnet_parts.plan import Plan, make_run_config, require_tiers
from soak_parts.report import report_lines
from soak_parts.soak import Limits, Soak

from psyche_p2p.cli.main import run_command
from psyche_p2p.config import load_run_config
from psyche_p2p.errors import ExitCode
from psyche_p2p.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
_ENDLESS = 1_000_000
# Epochs of seconds: whoever was dropped is back in the next, and epochs begin and end under fire.
_CHANGES = (
    f"run.total_rounds={_ENDLESS}",
    "schedule.warmup_rounds=4",
    "rounds.epoch_s=30",
    "rounds.warmup_s=15",
    "rounds.max_round_train_s=10",
    "rounds.cooldown_s=0.5",
    "members.waiting_for_members_extra_s=1.0",
)
_path = click.Path(path_type=Path)
_seconds = click.FloatRange(0, min_open=True)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tools/soak --minutes 3 --kill-every 10 --peers 5 --wan 25ms,0.5%,100mbit",
)
@click.option("--minutes", type=_seconds, default=3.0, show_default=True, help="Of trouble.")
@click.option(
    "--kill-every", "every_s", type=_seconds, default=10.0, show_default=True, help="Seconds."
)
@click.option("--peers", type=click.IntRange(2, 32), default=5, show_default=True)
@click.option("--tiers", help="One trainer a tier, instead of --peers.  [default: 0,0,1,0,0,1...]")
@click.option("--joins", type=click.IntRange(0, 64), default=8, show_default=True, help="At most.")
@click.option(
    "--stall-s",
    type=_seconds,
    default=90.0,
    show_default=True,
    help="Fail when no round closes for so long, or a peer is not back within twice that.",
)
@click.option("--config", "path", type=_path, default=ROOT / "configs" / "nano.toml")
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Of the run.")
@click.option("--wan", "profile", metavar="DELAY,LOSS,RATE", help="Emulate links; needs root.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything.")
@click.option("--headless", is_flag=True, help="A line now and then instead of a table.")
@click.option("--json", "json_path", type=_path, help="Write the report to this file.")
@click.option("--keep", type=_path, help="Use this new folder for homes and logs, and keep it.")
@click.option("--program", hidden=True, help="What a peer is, for tests.")
@click.option("--liar-program", hidden=True, help="What the last peer is, for tests.")
def soak(
    minutes: float,
    every_s: float,
    peers: int,
    tiers: str | None,
    joins: int,
    stall_s: float,
    path: Path,
    changes: tuple[str, ...],
    profile: str | None,
    seed: int,
    headless: bool,
    json_path: Path | None,
    keep: Path | None,
    program: str | None,
    liar_program: str | None,
) -> int:
    """Train with real peers on this machine while one after the other is hurt.

    Every so many seconds, if the network can bear it, a random peer's node, trainer or daemon is
    killed, or all of it is stopped, or it leaves and comes back, or a newcomer joins. Never more
    are away than agreement promises to bear: a third of the peers, at least one.

    \b
    Exit codes:
      0    rounds closed throughout, everyone came back, all roots were equal, nothing leaked
      2    wrong options
      3    the configuration is wrong
      5    the disk refused
      10   --wan, and this machine cannot; or no psyche-peer
      11   something failed: the lines FAILED say what
      130  interrupted
    """
    stop_on_signals()
    require_folder_of(json_path, "--json")
    plan = Plan(
        tiers=parse_tiers(tiers) if tiers else tuple(int(n % 3 == 2) for n in range(peers)),
        witnesses=0,
        seed=seed,
        exit_after_s=None,
        kill_every_s=None,
        give_up_after_s=stall_s,
        data_dir=None,
        program=program_words(program),
    )
    base = load_run_config(path)
    require_tiers(plan.tiers, base)
    # an epoch has to open without those who are away
    fewest = f"members.init_min_members={plan.peers - max(1, (plan.peers - 1) // 3)}"
    config = make_run_config(base, plan, None, False, (*_CHANGES, fewest, *changes))
    limits = Limits(60 * minutes, every_s, stall_s, plan.peers + joins)
    liar = tuple(shlex.split(liar_program)) if liar_program else None
    with network(profile, limits.most_peers, seed) as wan, work_folder(keep) as work:
        click.echo(f"{plan.peers} peers, seed {seed}; in {work.path}")
        display = make_display(headless, _ENDLESS)
        report = Soak(plan, limits, config, work.path, display, wan, liar).run()
        work.is_kept = keep is not None or bool(report.problems)
    for line in report_lines(report):
        click.echo(line)
    if json_path is not None:
        write_atomically(json_path, (json.dumps(asdict(report), indent=2) + "\n").encode())
    if report.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if report.ok else ExitCode.INVALID


if __name__ == "__main__":
    run_command(soak)
