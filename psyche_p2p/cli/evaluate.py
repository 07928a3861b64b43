"""`psyche-peer eval`: held-out loss and perplexity of a checkpoint at every tier it holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from psyche_p2p.cli.loading import checkpoint_options, load_with_summary, require_byte_tokens
from psyche_p2p.config import DataConfig, load_run_config
from psyche_p2p.data.manifest import make_manifest
from psyche_p2p.data.samples import Samples, bytes_as_samples, load_builtin_samples
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error
from psyche_p2p.ids import BatchInterval
from psyche_p2p.model.evaluation import TierLoss, evaluate
from psyche_p2p.model.transformer import Transformer

_BUILTIN = "builtin:stdlib"
_SAMPLES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Samples:
    """Samples by number, for evaluation."""

    count: int
    fetch: Callable[[int, int], Samples]


@click.command(epilog="Example: psyche-peer eval --checkpoint nano --data configs/nano.toml")
@checkpoint_options
@click.option(
    "--data",
    "source",
    required=True,
    metavar="SOURCE",
    help="A run's TOML file, a text file (read as bytes, all of it), or builtin:stdlib.",
)
@click.option(
    "--samples",
    "most",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Evaluate on at most this many samples.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_checkpoint(
    folder: Path, tier: int | None, strategy: str, source: str, most: int, as_json: bool
) -> None:
    """Measure held-out loss (nats a token) and perplexity at every tier the checkpoint can run.

    Of a run's data and of the built-in text, only samples that training never sees are used.
    """
    model = load_with_summary(folder, tier, strategy)
    require_byte_tokens(model, folder)
    samples = _load_samples(source, model)
    count = min(most, samples.count)
    steps = -(-count // _SAMPLES_AT_ONCE)
    with click.progressbar(length=steps, label="evaluating", file=sys.stderr) as bar:
        losses = evaluate(model, _batches(samples, count), on_batch=lambda: bar.update(1))
    if as_json:
        click.echo(json.dumps({"tiers": [_values(loss) for loss in losses]}))
        return
    for loss in losses:
        click.echo(
            f"tier {loss.tier}: loss {loss.loss:.4f}, perplexity {loss.perplexity:.3f} "
            f"({loss.token_count} tokens)"
        )


def _values(loss: TierLoss) -> dict[str, float]:
    return {
        "tier": loss.tier,
        "loss": loss.loss,
        "perplexity": loss.perplexity,
        "tokens": loss.token_count,
    }


def _batches(samples: _Samples, count: int) -> Iterator[Tensor]:
    for start in range(0, count, _SAMPLES_AT_ONCE):
        rows = samples.fetch(start, min(_SAMPLES_AT_ONCE, count - start))
        yield torch.from_numpy(rows)


def _load_samples(source: str, model: Transformer) -> _Samples:
    length = model.config.max_seq_len
    if source == _BUILTIN:
        return _heldout(DataConfig(sequence_length=length))
    path = Path(source)
    if path.suffix == ".toml":
        return _heldout(load_run_config(path).data)
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:
        raise storage_error("cannot read", path, error) from error
    manifest = make_manifest("bytes", [(path.name, text)])
    whole = bytes_as_samples(manifest, text, DataConfig(sequence_length=length, heldout_fraction=0))
    return _Samples(
        whole.train_count,
        lambda start, count: whole.train_samples(BatchInterval(start, start + count)),
    )


def _heldout(config: DataConfig) -> _Samples:
    if config.provider != "builtin":
        raise DataError(
            "the run trains on files of tokens, which eval cannot read",
            "give a text file, or builtin:stdlib",
        )
    samples = load_builtin_samples(config)
    return _Samples(samples.heldout_count, samples.heldout_samples)
