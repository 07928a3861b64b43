"""tools/simulate-training: a run's arithmetic without its network.

Data, model and defaults are those of the experiments in docs/experiments.md: 0.85M parameters, byte
by byte, 512 tokens a peer and step.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from simulation.peers import Setting, Simulation, simulate

from psyche_p2p.cli.main import run_command
from psyche_p2p.codec.recording import dump_recording
from psyche_p2p.config import DataConfig, ModelConfig, OptimizerConfig, ScheduleConfig
from psyche_p2p.files import write_atomically
from psyche_p2p.optim.grids import make_grids

_PROGRESS_S = 5.0


def _record(path: Path, simulation: Simulation) -> None:
    """The last round's updates of the peers at the first one's tier."""
    setting, contributions = simulation.setting, simulation.last_round
    tier = contributions[0].tier
    grid = make_grids(setting.model, setting.optimizer, tier).own
    updates = [part.coefficients for part in contributions if part.tier == tier]
    write_atomically(path, dump_recording(grid, updates))


def _with_progress(rounds: int) -> Iterator[int]:
    """Count rounds; say every few seconds where we are, if a person is watching."""
    said = time.monotonic()
    for index in range(rounds):
        if sys.stderr.isatty() and time.monotonic() - said > _PROGRESS_S:
            said = time.monotonic()
            click.echo(f"round {index} of {rounds}", err=True)
        yield index


def _parse_tiers(text: str) -> tuple[int, ...]:
    try:
        tiers = tuple(int(part) for part in text.split(","))
    except ValueError:
        tiers = (-1,)
    if not all(0 <= tier <= 2 for tier in tiers):
        raise click.BadParameter(f"{text!r} is not a list like 0,1,2", param_hint="--tiers")
    return tiers


def _require_sensible(setting: Setting) -> None:
    if setting.optimizer.kind == "adamw" and len(setting.tiers) > 1:
        raise click.BadParameter("adamw is for a lone peer: give one tier", param_hint="--tiers")
    inner = setting.optimizer.sparse_loco.inner_steps
    if setting.optimizer.kind == "sparse_loco" and setting.steps < inner:
        raise click.BadParameter(f"must be at least --inner-steps ({inner})", param_hint="--steps")


def _make_setting(options: dict[str, Any]) -> Setting:
    kind = options["optimizer"]
    base = OptimizerConfig(kind=kind)
    distro = base.distro.model_copy(
        update={
            "lookahead": options["lookahead"],
            "momentum_decay": options["momentum_decay"],
            "top_k": options["top_k"] or base.distro.top_k,
        }
    )
    sparse_loco = base.sparse_loco.model_copy(
        update={
            "inner_steps": options["inner_steps"],
            "top_k": options["top_k"] or base.sparse_loco.top_k,
        }
    )
    inner = options["inner_steps"] if kind == "sparse_loco" else 1
    rate = options["learning_rate"] or (2e-3 if kind == "distro" else 3e-3)
    return Setting(
        model=ModelConfig(
            vocab_size=256,
            hidden_size=128,
            intermediate_size=512,
            num_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_seq_len=64,
            max_tier=2,
        ),
        data=DataConfig(sequence_length=64),
        optimizer=OptimizerConfig(kind=kind, distro=distro, sparse_loco=sparse_loco),
        schedule=ScheduleConfig(
            kind="cosine", learning_rate=rate, warmup_rounds=max(1, options["steps"] // 16 // inner)
        ),
        tiers=_parse_tiers(options["tiers"]),
        steps=options["steps"],
        delay=options["delay"],
        seed=options["seed"],
        samples_per_step=8,
    )


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tools/simulate-training --tiers 0,1,1 --delay 1 --seed 3",
)
@click.option("--tiers", default="0,0,0", show_default=True, help="One tier a peer.")
@click.option(
    "--optimizer",
    type=click.Choice(["distro", "sparse_loco", "adamw"]),
    default="distro",
    show_default=True,
)
@click.option("--lookahead/--no-lookahead", default=True, show_default=True, help="For distro.")
@click.option(
    "--momentum-decay",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.999,
    show_default=True,
    help="For distro.",
)
@click.option(
    "--inner-steps",
    type=click.IntRange(1, 10000),
    default=8,
    show_default=True,
    help="For sparse_loco.",
)
@click.option("--top-k", type=click.IntRange(1, 4096), help="Sent per chunk.  [default: 8 or 64]")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    help="The peak.  [default: 2e-3 or 3e-3]",
)
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True)
@click.option(
    "--delay",
    type=click.IntRange(0, 1),
    default=0,
    show_default=True,
    help="How many rounds late an update is applied.",
)
@click.option("--seed", type=click.IntRange(0, 1000), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--record", type=click.Path(path_type=Path), help="Save the last round's signs.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def simulate_training(threads: int, record: Path | None, as_json: bool, **options: Any) -> None:
    """Train a small model on the text of the standard library, with several peers at once."""
    torch.set_num_threads(threads)
    setting = _make_setting(options)
    _require_sensible(setting)
    outcome, simulation = simulate(setting, _with_progress(setting.rounds))
    if record is not None:
        _record(record, simulation)
    if as_json:
        click.echo(json.dumps({**options, **outcome}))
        return
    for name, value in outcome.items():
        click.echo(f"{name:20} {value}")


if __name__ == "__main__":
    run_command(simulate_training)
