"""`psyche-peer data`: make training data, look at it, ask whether it is what others have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from psyche_p2p.cli.data_info import show_info
from psyche_p2p.cli.data_prepare import prepare_data
from psyche_p2p.config import load_run_config
from psyche_p2p.data.load import load_samples
from psyche_p2p.data.manifest import (
    Manifest,
    decode_manifest,
    describe_difference,
    encode_manifest,
)
from psyche_p2p.data.token_file import Progress as OnProgress
from psyche_p2p.errors import DataError, ExitCode
from psyche_p2p.files import storage_error, write_atomically

_MIB = 1 << 20


@click.group(epilog="Example: psyche-peer data manifest run.toml --data-dir tokens/")
def data() -> None:
    """Make training data; show this machine's and compare it with other peers'."""


data.add_command(prepare_data)
data.add_command(show_info)


@data.command(epilog="Example: psyche-peer data manifest run.toml --data-dir d --out mine.txt")
@click.argument("config_path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where token files are.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the manifest there.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest, a line of JSON a file.")
@click.option(
    "--compare",
    "other_path",
    type=click.Path(path_type=Path),
    help="Another peer's manifest: say which file differs.",
)
def manifest(
    config_path: Path,
    data_dir: Path | None,
    out: Path | None,
    as_json: bool,
    other_path: Path | None,
) -> int:
    """Read all data of the run in FILE, check every token, and print the manifest's hash.

    The hash is what data.manifest of the configuration pins. Exit code 0: the data is good and,
    with --compare, the same. 9: it is not.
    """
    config = load_run_config(config_path)
    if other_path is not None or out is not None:  # to compare is to ask what the run's hash means
        unpinned = config.data.model_copy(update={"manifest": ""})
        config = config.model_copy(update={"data": unpinned})
    with reading_progress() as on_progress:
        found = load_samples(config, data_dir, on_progress).manifest
    if out is not None:
        write_atomically(out, encode_manifest(found))
    if other_path is not None:
        _require_same(found, other_path)
    click.echo(encode_manifest(found).decode() if as_json else found.digest.hex(), nl=not as_json)
    return ExitCode.OK


def _require_same(found: Manifest, other_path: Path) -> None:
    try:
        other = decode_manifest(other_path.read_bytes(), repr(str(other_path)))
    except OSError as error:
        raise storage_error("cannot read the manifest", other_path, error) from error
    difference = describe_difference(found, other)
    if difference:
        raise DataError(difference, "copy that file from the peer whose data is right")


@contextmanager
def reading_progress() -> Iterator[OnProgress]:
    """How much has been read, on a terminal, gone when it is done."""
    console = Console(stderr=True)
    columns = (TextColumn("checked {task.completed:.0f} MiB"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as display:
        task = display.add_task("", total=None)
        yield lambda size_bytes: display.advance(task, size_bytes / _MIB)
