"""`psyche-peer generate`: continue a text, or a list of tokens, with a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path

import click

from psyche_p2p.cli.loading import checkpoint_options, load_with_summary, require_byte_tokens
from psyche_p2p.model.generation import Sampling, generate

_LAST_BYTE = 255


@click.command(
    epilog='Example: psyche-peer generate --checkpoint nano --prompt "def main(" --tokens 200'
)
@checkpoint_options
@click.option("--prompt", help="Text to continue, one token a byte.")
@click.option("--prompt-ids", metavar="ID,ID,...", help="Token ids to continue instead of text.")
@click.option(
    "--tokens", "count", type=click.IntRange(1, 1_000_000), default=200, show_default=True
)
@click.option("--temperature", type=float, default=0.8, show_default=True, help="0: the likeliest.")
@click.option("--top-k", type=int, default=0, show_default=True, help="0: off.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="1: off.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def generate_text(
    folder: Path,
    tier: int | None,
    strategy: str,
    prompt: str | None,
    prompt_ids: str | None,
    count: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
) -> None:
    """Write a continuation to standard output as it is made: the same for the same seed."""
    if (prompt is None) == (prompt_ids is None):
        raise click.UsageError("give either --prompt or --prompt-ids")
    sampling = Sampling(temperature, top_k, top_p, seed)
    model = load_with_summary(folder, tier, strategy)
    if prompt is not None:
        require_byte_tokens(model, folder)
    start = _parse_ids(prompt_ids or "") if prompt is None else list(prompt.encode())
    tokens = islice(generate(model, start, sampling), count)
    if prompt is None:
        for token in tokens:
            click.echo(token)
    else:
        _write_bytes(chain(start, tokens))


def _write_bytes(tokens: Iterable[int]) -> None:
    for token in tokens:
        if token <= _LAST_BYTE:  # the rest of a larger vocabulary stands for no byte
            click.echo(bytes([token]), nl=False)
    click.echo()


def _parse_ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.UsageError("--prompt-ids takes whole numbers with commas between") from error
