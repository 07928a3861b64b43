"""`psyche-peer data prepare`: text, JSON lines or parquet to the tokens that a run trains on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from psyche_p2p.cli.progress import show_progress
from psyche_p2p.data.corpus import read_about
from psyche_p2p.data.documents import find_sources
from psyche_p2p.data.encoder import ByteEncoder, load_encoder
from psyche_p2p.data.prepare import DEFAULT_SHARD_BYTES, Plan, prepare

_MIB = 1 << 20
_MB = 1_000_000


@click.command(
    "prepare",
    epilog="Example: psyche-peer data prepare books/ --tokenizer tokenizer.json --out tokens",
)
@click.argument("inputs", nargs=-1, required=True, metavar="IN...", type=click.Path(path_type=Path))
@click.option("--tokenizer", type=click.Path(path_type=Path), help="A Hugging Face tokenizer.json.")
@click.option("--bytes", "as_bytes", is_flag=True, help="A token a byte, without a tokenizer.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to make.")
@click.option(
    "--field", default="text", show_default=True, help="The JSON key or column that holds text."
)
@click.option(
    "--separator", help="The token after each document; '' for none. Default: the usual one."
)
@click.option(
    "--shard-mib",
    type=click.IntRange(min=1, max=1 << 20),
    default=DEFAULT_SHARD_BYTES // _MIB,
    show_default=True,
    help="The size of an output file.",
)
@click.option("--again", is_flag=True, help="Throw away what is in the folder and start over.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def prepare_data(
    inputs: tuple[Path, ...],
    tokenizer: Path | None,
    as_bytes: bool,
    out: Path,
    field: str,
    separator: str | None,
    shard_mib: int,
    again: bool,
    as_json: bool,
) -> None:
    """Make tokens of IN... (.jsonl, .parquet, anything else is text; folders are searched).

    Interrupted, even killed, the same command goes on where it was, and the result is the same as
    without. OUT can be a peer's --data-dir, or be put on a web server for data.provider = http.
    """
    if as_bytes == (tokenizer is not None):
        raise click.UsageError("give either --tokenizer FILE or --bytes")
    if as_bytes and separator is not None:
        raise click.UsageError("--bytes puts a zero byte after every document: no --separator")
    encoder = ByteEncoder() if tokenizer is None else load_encoder(tokenizer, separator)
    plan = Plan(find_sources(inputs), field, encoder, shard_mib * _MIB)
    began = time.monotonic()
    with show_progress("preparing", plan.size_bytes) as on_done:
        manifest = prepare(plan, out, again=again, on_done=on_done)
    seconds = time.monotonic() - began
    about = read_about(out)
    values = {
        "manifest": manifest.digest.hex(),
        "shards": len(manifest.entries),
        "tokens": about.tokens,
        "documents": about.documents,
        "text_bytes": about.text_bytes,
        "token_bytes": about.token_bytes,
        "vocab_size": about.vocab_size,
        "separator": about.separator,
        "seconds": round(seconds, 3),
    }
    if as_json:
        click.echo(json.dumps(values))
        return
    click.echo(
        f"{about.tokens} tokens of {about.token_bytes} bytes from {about.documents} documents "
        f"in {len(manifest.entries)} files, {seconds:.1f} s"
    )
    click.echo(f"after every document: {about.separator or 'nothing'}")
    click.echo(f"manifest {manifest.digest.hex()}")
    click.echo("in the run's configuration:")
    click.echo(f"  [model] vocab_size = {about.vocab_size} or more")
    click.echo(
        f'  [data] provider = "tokens", files = ["shard-*.bin"], token_bytes = {about.token_bytes}'
    )
