"""tools/localnet: a whole network on this machine, watched, and judged at its end."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from localnet_parts.outcome import Outcome, summary_lines
from localnet_parts.plan import (
    DEFAULT_ROUNDS,
    Plan,
    make_run_config,
    require_tiers,
)
from localnet_parts.supervisor import Supervisor

from psyche_p2p.cli.main import run_command
from psyche_p2p.config import load_run_config, run_id
from psyche_p2p.errors import ExitCode
from psyche_p2p.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
_path = click.Path(path_type=Path)
_seconds = click.FloatRange(0, min_open=True)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tools/localnet --tiers 0,1,1 --config configs/nano.toml --headless",
)
@click.option("--tiers", default="0,1,1", show_default=True, help="One trainer a tier.")
@click.option(
    "--config",
    "path",
    type=_path,
    default=ROOT / "configs" / "small.toml",
    help="The run's configuration.  [default: configs/small.toml]",
)
@click.option("--witnesses", type=click.IntRange(0, 64), default=0, help="Peers that only verify.")
@click.option("--authority", is_flag=True, help="The first peer alone decides (centralized mode).")
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Of the run.")
@click.option(
    "--synergy-phase-a-rounds",
    type=click.IntRange(1),
    help="Rounds with the suffix gate closed and no distillation; with the next.",
)
@click.option(
    "--synergy-ramp-rounds", type=click.IntRange(1), help="Rounds over which both then grow."
)
@click.option("--data-dir", type=_path, help="Where a run on token files finds them.")
@click.option(
    "--exit-after-steps",
    type=click.IntRange(1),
    help=f"Rounds of the run.  [default: {DEFAULT_ROUNDS} without --exit-after-s]",
)
@click.option("--exit-after-s", type=_seconds, help="Stop then, start-up included.")
@click.option(
    "--give-up-after-s",
    type=_seconds,
    default=180.0,
    show_default=True,
    help="Fail when nothing has moved for so long.",
)
@click.option("--kill-every", "kill_every_s", type=_seconds, help="Kill -9 and restart a peer.")
@click.option("--wan", "profile", metavar="DELAY,LOSS,RATE", help="Emulate links; needs root.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything.")
@click.option("--headless", is_flag=True, help="A line now and then instead of a table.")
@click.option("--json", "json_path", type=_path, help="Write the outcome to this file.")
@click.option("--keep", type=_path, help="Use this new folder for homes and logs, and keep it.")
@click.option("--program", hidden=True, help="What a peer is, for tests.")
def localnet(
    path: Path,
    tiers: str,
    authority: bool,
    changes: tuple[str, ...],
    synergy_phase_a_rounds: int | None,
    synergy_ramp_rounds: int | None,
    exit_after_steps: int | None,
    profile: str | None,
    headless: bool,
    json_path: Path | None,
    keep: Path | None,
    program: str | None,
    **options: Any,
) -> int:
    """Start a bootstrap peer and the rest on this machine, train, and check the outcome.

    Each peer is a process of its own with its own home folder. The first is given the run; the
    others find it from the first one's address and the run's name. When this ends, however it ends,
    so do they. The folder with all homes and logs is kept, and named, if anything failed.

    \b
    Exit codes:
      0    all rounds (or --exit-after-s) done, same parameters everywhere, no errors
      2    wrong options
      3    the configuration is wrong
      5    the disk refused
      10   --wan, and this machine cannot; or no psyche-peer
      11   something failed: the lines FAILED say what
      130  interrupted
    """
    stop_on_signals()
    require_folder_of(json_path, "--json")
    base = load_run_config(path)
    plan = Plan(tiers=parse_tiers(tiers), program=program_words(program), **options)
    changes += _synergy(phase_a_rounds=synergy_phase_a_rounds, ramp_rounds=synergy_ramp_rounds)
    require_tiers(plan.tiers, base)
    if exit_after_steps is None and plan.exit_after_s is None:
        exit_after_steps = DEFAULT_ROUNDS
    config = make_run_config(base, plan, exit_after_steps, authority, changes)
    with network(profile, plan.peers, plan.seed) as wan, work_folder(keep) as work:
        click.echo(f"run {config.run.name}, id {run_id(config).hex()}, seed {plan.seed}")
        click.echo(
            f"{plan.peers} peers, at tiers {', '.join(map(str, plan.tiers))}; in {work.path}"
        )
        display = make_display(headless, config.run.total_rounds)
        supervisor = Supervisor(plan, config, work.path, display, wan)
        outcome = supervisor.run(config.run.total_rounds if exit_after_steps else 1)
        work.is_kept = keep is not None or bool(outcome.problems)
    for line in summary_lines(outcome):
        click.echo(line)
    if json_path is not None:
        write_atomically(json_path, (json.dumps(asdict(outcome), indent=2) + "\n").encode())
    return _exit_code(outcome)


def _exit_code(outcome: Outcome) -> ExitCode:
    if outcome.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if outcome.ok else ExitCode.INVALID


def _synergy(**rounds: int | None) -> tuple[str, ...]:
    """The coupled schedule as changes of the run."""
    given = {key: value for key, value in rounds.items() if value is not None}
    return tuple(f"distillation.synergy.{key}={value}" for key, value in given.items())


if __name__ == "__main__":
    run_command(localnet)
