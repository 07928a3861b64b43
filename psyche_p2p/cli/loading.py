"""Options and steps shared by the commands that run a checkpoint's model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from psyche_p2p.errors import DataError
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.load import LoadPlan, LoadStrategy, load_model, plan_load
from psyche_p2p.model.summary import render_box, render_plain, summarize
from psyche_p2p.model.transformer import Transformer

_Command = TypeVar("_Command", bound=Callable[..., Any])
_BYTE_VALUES = 256


def checkpoint_options(command: _Command) -> _Command:
    """`--checkpoint`, `--matformer-tier` and `--matformer-load-strategy`."""
    options = (
        click.option(
            "--checkpoint", "folder", type=click.Path(path_type=Path), required=True, metavar="DIR"
        ),
        click.option(
            "--matformer-tier", "tier", type=click.IntRange(min=0), help="Default: the largest."
        ),
        click.option(
            "--matformer-load-strategy",
            "strategy",
            type=click.Choice([strategy.value for strategy in LoadStrategy]),
            default="auto",
            show_default=True,
            help="What the checkpoint is: found out, a full model, or already a slice.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def load_with_summary(folder: Path, tier: int | None, strategy: str) -> Transformer:
    """The model of a checkpoint; how it was loaded is shown on standard error."""
    wanted = None if tier is None else Tier(tier)
    plan = plan_load(open_checkpoint(folder), wanted, LoadStrategy(strategy))
    show_summary(plan)
    return load_model(plan)


def show_summary(plan: LoadPlan) -> None:
    """The start-up summary: a box on a terminal, plain lines anywhere else."""
    render = render_box if sys.stderr.isatty() else render_plain
    click.echo(render(summarize(plan)), err=True)


def require_byte_tokens(model: Transformer, folder: Path) -> None:
    """DataError unless the checkpoint's tokens are bytes."""
    tokenizer = folder / "tokenizer.json"
    if tokenizer.exists() or model.config.vocab_size < _BYTE_VALUES:
        raise DataError(
            f"the tokens of {str(folder)!r} are not bytes",
            "give token ids instead of text",
        )
