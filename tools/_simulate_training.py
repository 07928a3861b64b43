"""tools/simulate-training: a run's arithmetic without its network.

Every peer has its own sliced model, optimizer and masters; contributions go through their bytes,
and at the end all peers must hold the same parameters. Data, model and defaults are those of the
experiments in docs/experiments.md: 0.85M parameters, byte by byte, 512 tokens a peer and step.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from psyche_p2p.cli.main import run_command
from psyche_p2p.codec import decode_coefficients, encode_coefficients
from psyche_p2p.codec.recording import dump_recording
from psyche_p2p.config import DataConfig, ModelConfig, OptimizerConfig, ScheduleConfig
from psyche_p2p.data.samples import TokenSamples, load_builtin_samples
from psyche_p2p.errors import LocalError
from psyche_p2p.files import write_atomically
from psyche_p2p.ids import BatchInterval, Tier
from psyche_p2p.model.gradients import accumulate_gradients, compute_loss
from psyche_p2p.model.initial import initial_model
from psyche_p2p.model.param_root import param_root
from psyche_p2p.model.tiers import slice_state, tier_width
from psyche_p2p.model.transformer import Transformer, model_from_state
from psyche_p2p.optim.grids import make_grids
from psyche_p2p.optim.interface import Contribution, Optimizer
from psyche_p2p.optim.make import make_optimizer
from psyche_p2p.optim.schedule import compute_learning_rate, learning_rate_to_bits

_HELDOUT_SAMPLES = 128
_PROGRESS_S = 5.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One simulated run."""

    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    tiers: tuple[int, ...]
    steps: int
    delay: int
    seed: int
    samples_per_step: int


@dataclass(slots=True)
class Peer:
    """One peer: a model of its tier whose parameters are its optimizer's working copy."""

    tier: Tier
    model: Transformer
    optimizer: Optimizer
    sent_bytes: int = 0
    losses: list[float] = field(default_factory=list)


def simulate(setting: Setting, record: Path | None = None) -> dict[str, Any]:
    """Train, and say how well it went."""
    torch.manual_seed(setting.seed)
    samples = load_builtin_samples(setting.data)
    peers = [_make_peer(setting, Tier(tier)) for tier in setting.tiers]
    rounds = setting.steps // peers[0].optimizer.inner_steps
    began, pending, last_round = time.monotonic(), deque[tuple[list[Contribution], int]](), []
    batches = _batches(setting)
    for index in _with_progress(rounds):
        rate = compute_learning_rate(setting.schedule, rounds, index)
        last_round = [_train(peer, setting, samples, batches, rate) for peer in peers]
        pending.append((last_round, learning_rate_to_bits(rate)))
        if len(pending) > setting.delay:
            _apply_oldest(peers, pending)
    while pending:
        _apply_oldest(peers, pending)
    if record is not None:
        _record(record, setting, last_round)
    return {
        **_outcome(setting, peers, samples),
        "rounds": rounds,
        "seconds": round(time.monotonic() - began, 1),
    }


def _make_peer(setting: Setting, tier: Tier) -> Peer:
    model = initial_model(setting.model, setting.seed, tier)
    optimizer = make_optimizer(
        setting.model, setting.optimizer, dict(model.named_parameters()), held_tier=tier
    )
    return Peer(tier, model, optimizer)


def _train(
    peer: Peer,
    setting: Setting,
    samples: TokenSamples,
    batches: Iterator[BatchInterval],
    rate: float,
) -> Contribution:
    """One round of one peer, with its contribution as the others will read it."""
    peer.optimizer.begin_round(rate)
    for _ in range(peer.optimizer.inner_steps):
        tokens_bt = torch.from_numpy(samples.train_samples(next(batches)))
        peer.model.zero_grad(set_to_none=True)
        peer.losses.append(accumulate_gradients(peer.model, tokens_bt))
        peer.optimizer.accumulate(
            {name: _gradient(value) for name, value in peer.model.named_parameters()}
        )
    return _through_bytes(peer, setting, peer.optimizer.contribution())


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _through_bytes(peer: Peer, setting: Setting, contribution: Contribution) -> Contribution:
    sent = contribution.coefficients
    grid = make_grids(setting.model, setting.optimizer, peer.tier).own
    sections = encode_coefficients(grid, sent)
    peer.sent_bytes += sum(len(data) for data in sections.values())
    received = decode_coefficients(grid, sent.payload, sent.top_k, sections)
    return Contribution(contribution.tier, received)


def _apply_oldest(peers: list[Peer], pending: deque[tuple[list[Contribution], int]]) -> None:
    contributions, rate_bits = pending.popleft()
    for peer in peers:
        peer.optimizer.apply(contributions, rate_bits)


def _batches(setting: Setting) -> Iterator[BatchInterval]:
    """Disjoint batches; another seed reads another part of the corpus."""
    start = setting.seed * setting.steps * len(setting.tiers) * setting.samples_per_step
    while True:
        yield BatchInterval(start, start + setting.samples_per_step)
        start += setting.samples_per_step


def _outcome(setting: Setting, peers: list[Peer], samples: TokenSamples) -> dict[str, Any]:
    largest = min(peers, key=lambda peer: peer.tier)
    _require_one_model(setting, peers)
    last = [loss for peer in peers for loss in peer.losses[-16:]]
    return {
        "heldout": _evaluate(setting, largest, samples),
        "train_loss": round(sum(last) / len(last), 4),
        "kilobytes_per_peer": round(sum(p.sent_bytes for p in peers) / len(peers) / 1e3, 1),
    }


def _require_one_model(setting: Setting, peers: list[Peer]) -> None:
    """All masters must agree, bit for bit, in what the smallest peer holds."""
    smallest = Tier(max(peer.tier for peer in peers))
    width = tier_width(setting.model, smallest)
    roots = {
        param_root(setting.model, slice_state(peer.optimizer.masters, width), smallest)
        for peer in peers
    }
    if len(roots) > 1:
        raise LocalError(f"{len(peers)} peers ended with {len(roots)} different models")


@torch.no_grad()
def _evaluate(setting: Setting, peer: Peer, samples: TokenSamples) -> dict[str, float]:
    """Held-out nats a token of the masters, at every tier."""
    state = {name: master.detach() for name, master in peer.optimizer.masters.items()}
    model = model_from_state(setting.model, state, peer.tier)
    tokens_bt = torch.from_numpy(samples.heldout_samples(0, _HELDOUT_SAMPLES))
    return {
        f"tier{tier}": round(float(compute_loss(model, tokens_bt, model.view_at(Tier(tier)))), 4)
        for tier in range(peer.tier, setting.model.max_tier + 1)
    }


def _record(path: Path, setting: Setting, contributions: list[Contribution]) -> None:
    """The last round's updates of the peers at the first one's tier."""
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
    outcome = simulate(setting, record)
    if as_json:
        click.echo(json.dumps({**options, **outcome}))
        return
    for name, value in outcome.items():
        click.echo(f"{name:20} {value}")


if __name__ == "__main__":
    run_command(simulate_training)
