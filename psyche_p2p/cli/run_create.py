"""`psyche-peer run create`: everything that the first peer of a run needs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from psyche_p2p.cli.data import reading_progress
from psyche_p2p.cli.run import toml_lines
from psyche_p2p.config import RunConfig, load_run_config, run_id
from psyche_p2p.data.load import load_samples
from psyche_p2p.data.manifest import encode_manifest
from psyche_p2p.errors import StorageError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.ids import ParamRoot
from psyche_p2p.model.checkpoint_writer import write_checkpoint
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.initial_values import initial_roots


@click.command(epilog="Example: psyche-peer run create configs/nano.toml --out my-run")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to make for the run."
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where token files are.")
@click.option("--no-checkpoint", is_flag=True, help="Do not write the first parameters to disk.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(
    path: Path, out: Path, data_dir: Path | None, no_checkpoint: bool, as_json: bool
) -> None:
    """Make a run of the configuration in FILE, and its first checkpoint.

    OUT gets run.toml, in which this machine's training data is pinned by its hash, so that peers
    with other data are refused by name; manifest.txt, which says what that data is; and
    checkpoint/, the first parameters, which every peer can compute for itself.
    """
    config = load_run_config(path)
    with reading_progress() as on_progress:
        found = load_samples(config, data_dir, on_progress).manifest
    pinned = config.data.model_copy(update={"manifest": found.digest.hex()})
    config = config.model_copy(update={"data": pinned})
    make_run_folder(out)
    write_atomically(out / "manifest.txt", encode_manifest(found))
    root = _write_first_parameters(config, None if no_checkpoint else out / "checkpoint")
    text = "\n".join(toml_lines(config)).lstrip() + "\n"
    write_atomically(out / "run.toml", text.encode())
    values = {
        "run_id": run_id(config).hex(),
        "name": config.run.name,
        "param_root": root.hex(),
        "data_manifest": found.digest.hex(),
        "run_file": str(out / "run.toml"),
    }
    if as_json:
        click.echo(json.dumps(values))
        return
    click.echo(f"run {config.run.name}, id {values['run_id']}")
    click.echo(f"first parameters {values['param_root']}")
    click.echo(f"begin it with: psyche-peer start --run-file {values['run_file']} --tier 0")


def make_run_folder(out: Path) -> None:
    """A new folder; StorageError if there is something already."""
    try:
        out.mkdir(parents=True)
    except FileExistsError as error:
        cure = "choose another name, or move the old folder away"
        raise StorageError(f"{str(out)!r} exists already", cure) from error
    except OSError as error:
        raise storage_error("cannot create", out, error) from error


def _write_first_parameters(config: RunConfig, folder: Path | None) -> ParamRoot:
    if folder is None:
        return initial_roots(config.model, config.run.seed)[-1]
    click.echo("drawing the first parameters", err=True)
    state = initial_state(config.model, config.run.seed)
    return write_checkpoint(folder, config.model, state).param_root
