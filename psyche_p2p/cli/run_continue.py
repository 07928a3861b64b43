"""`psyche-peer run continue`: a new run that goes on from another one's checkpoint.

Not `resume`, which is the owner's word to a living run. What comes of this is another run, with
another id: nobody is left who could decide the next block of the old log.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from psyche_p2p.cli.run import toml_lines
from psyche_p2p.cli.run_create import make_run_folder
from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.config.load import check_run_config
from psyche_p2p.errors import ConfigError, ModelError
from psyche_p2p.files import write_atomically
from psyche_p2p.model.checkpoint import Checkpoint, open_checkpoint
from psyche_p2p.model.checkpoint_manifest import MANIFEST_FILE, CheckpointOrigin


@click.command(
    "continue",
    epilog="Example: psyche-peer run continue HOME/runs/RUN/checkpoints/round-00000300 --out again",
)
@click.argument("folder", metavar="CHECKPOINT", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to make for the run."
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help="How many rounds the run shall have, those before included.  [default: as before]",
)
@click.option("--name", help="What the new run is called.  [default: as before]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def continue_run(
    folder: Path, out: Path, rounds: int | None, name: str | None, as_json: bool
) -> None:
    """Make a run that begins where CHECKPOINT, which a peer took of another run, was taken.

    For when no peer of that run is left. Rounds, learning rate and data go on where they were; the
    optimizers' momentum and the points are not in a checkpoint and begin anew. Every file of the
    checkpoint is checked, and its parameters against the root that the old run's log named. OUT
    gets run.toml, where who takes part may be changed before anybody starts it. The first peers
    need the checkpoint (psyche-peer start --checkpoint); all others get the parameters from them.

    Exit code 3: the run was over, or --name means nothing. 8: this is not a checkpoint that a peer
    took of a run, or not the whole model, or not what the log named.
    """
    checkpoint = open_checkpoint(folder)
    origin = _require_origin(checkpoint)
    _require_agreed(checkpoint, origin)
    config = _go_on(origin, rounds, name)
    make_run_folder(out)
    path = out / "run.toml"
    write_atomically(path, ("\n".join(toml_lines(config)).lstrip() + "\n").encode())
    values = {
        "run_id": run_id(config).hex(),
        "name": config.run.name,
        "continues": origin.run_id.hex(),
        "height": origin.height,
        "round": origin.param_round,
        "param_root": config.beginning.param_root,
        "run_file": str(path),
    }
    if as_json:
        click.echo(json.dumps(values))
        return
    click.echo(f"run {config.run.name}, id {values['run_id']}")
    click.echo(
        f"goes on from run {values['continues']} after {origin.param_round} rounds, as block "
        f"{origin.height} agreed"
    )
    click.echo(f"begin it with: psyche-peer start --run-file {path} --checkpoint {folder} --tier 0")


def _require_origin(checkpoint: Checkpoint) -> CheckpointOrigin:
    origin = None if checkpoint.manifest is None else checkpoint.manifest.origin
    if origin is None:
        raise ModelError(
            f"{str(checkpoint.folder)!r} does not say which run it was taken of",
            f"give one of a peer's, whose {MANIFEST_FILE} has an origin",
        )
    return origin


def _require_agreed(checkpoint: Checkpoint, origin: CheckpointOrigin) -> None:
    """That these are the parameters that the old run's log named, all of them."""
    if checkpoint.is_sliced:
        raise ModelError(
            f"{str(checkpoint.folder)!r} is the slice of tier {checkpoint.held_tier}: the rest of "
            "the model is not in it",
            "give the checkpoint of a peer at tier 0",
        )
    roots = checkpoint.compute_roots(origin.config.model)
    if roots != origin.param_roots:
        raise ModelError(
            f"{str(checkpoint.folder)!r} holds param root {roots[-1].hex()}, the log of its run "
            f"named {origin.param_roots[-1].hex()} at height {origin.height}",
            "it was changed after it was taken: give another one",
        )


def _go_on(origin: CheckpointOrigin, rounds: int | None, name: str | None) -> RunConfig:
    values = origin.config.model_dump()
    values["beginning"] = {
        "param_root": origin.param_roots[-1].hex(),
        "round": origin.param_round,
        "sample": origin.first_sample,
    }
    values["data"]["manifest"] = origin.data_manifest.hex()
    if rounds is not None:
        values["run"]["total_rounds"] = rounds
    if name is not None:
        values["run"]["name"] = name
    total = values["run"]["total_rounds"]
    if origin.param_round >= total:
        raise ConfigError(
            f"the checkpoint has had {origin.param_round} rounds, and the run has {total} in all",
            "say with --rounds how many it shall have",
        )
    return check_run_config(values, "the run that goes on")
