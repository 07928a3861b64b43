"""`psyche-peer data info`: what is in a folder of tokens or in a parquet file, and is it whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from psyche_p2p.cli.progress import show_progress
from psyche_p2p.data.corpus import find_bad_shards, read_about, read_manifest
from psyche_p2p.data.parquet_rows import describe_parquet
from psyche_p2p.errors import DataError, ExitCode


@click.command("info", epilog="Example: psyche-peer data info tokens --check")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Read every byte and name the bad files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_info(path: Path, check: bool, as_json: bool) -> int:
    """Say what PATH is: a folder from psyche-peer data prepare, or a parquet file.

    Exit code 0: it can be read and, with --check, is whole. 9: it is not; bad files are named.
    """
    if path.is_dir():
        values, bad = _describe_folder(path, check)
    elif path.suffix == ".parquet":
        values, bad = describe_parquet(path), []
    else:
        cause = f"{str(path)!r} is neither a folder of tokens nor a .parquet file"
        raise DataError(cause, "make tokens of it with psyche-peer data prepare")
    if as_json:
        click.echo(json.dumps({**values, "bad": bad} if check else values))
    else:
        for name, value in values.items():
            click.echo(f"{name.replace('_', ' ')}: {value}")
    for line in bad:
        click.echo(f"error: {line}", err=True)
    return ExitCode.DATA if bad else ExitCode.OK


def _describe_folder(folder: Path, check: bool) -> tuple[dict[str, Any], list[str]]:
    manifest, about = read_manifest(folder), read_about(folder)
    values = {
        "manifest": manifest.digest.hex(),
        "encoding": manifest.encoding,
        "shards": len(manifest.entries),
        "size_bytes": manifest.size_bytes,
        "tokens": about.tokens,
        "documents": about.documents,
        "text_bytes": about.text_bytes,
        "vocab_size": about.vocab_size,
        "highest_token": about.highest_token,
        "separator": about.separator,
    }
    if not check:
        return values, []
    done = 0
    with show_progress("checking", manifest.size_bytes) as on_done:

        def advance(size_bytes: int) -> None:
            nonlocal done
            done += size_bytes
            on_done(done)

        return values, list(find_bad_shards(folder, manifest, advance))
