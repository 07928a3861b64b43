"""Trains `configs/nano.toml` alone, with AdamW and the run's schedule, and records the losses.

`python -m tests.model.training_curve` records the curve again, after a change that is meant to move
it; the change's message should say why it did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from psyche_p2p.config import RunConfig, load_run_config
from psyche_p2p.data.samples import load_builtin_samples
from psyche_p2p.ids import BatchInterval
from psyche_p2p.model.gradients import accumulate_gradients
from psyche_p2p.model.initial import initial_model

CONFIG = Path(__file__).parents[2] / "configs" / "nano.toml"
STORED = Path(__file__).parent / "curves" / "nano-adamw.json"
_CLIP = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """The losses of a run, and the text they belong to."""

    manifest: str
    losses: list[float]


def load_curve() -> Curve:
    return Curve(**json.loads(STORED.read_text()))


def train(config: RunConfig) -> Iterator[float]:
    """The loss of every step of the run, before the step."""
    model = initial_model(config.model, config.run.seed)
    samples = load_builtin_samples(config.data)
    adam = config.optimizer.adamw
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(adam.beta1, adam.beta2), eps=adam.eps, weight_decay=0.0
    )
    size = config.rounds.global_batch_size_start
    for step in range(config.run.total_rounds):
        batch = BatchInterval(step * size, (step + 1) * size)
        optimizer.zero_grad()
        loss = accumulate_gradients(model, torch.from_numpy(samples.train_samples(batch)))
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        optimizer.step()
        yield loss


def learning_rate(config: RunConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to the final share."""
    schedule, total = config.schedule, config.run.total_rounds
    peak, warmup = schedule.learning_rate, schedule.warmup_rounds
    if step < warmup:
        return peak * (step + 1) / warmup
    turn = math.pi * (step - warmup) / max(1, total - warmup)
    low = peak * schedule.final_ratio
    return low + (peak - low) * (1 + math.cos(turn)) / 2


def main() -> None:
    torch.set_num_threads(1)
    config = load_run_config(CONFIG)
    manifest = load_builtin_samples(config.data).manifest.digest.hex()
    losses = [round(loss, 5) for loss in train(config)]
    STORED.write_text(json.dumps({"manifest": manifest, "losses": losses}) + "\n")


if __name__ == "__main__":
    main()
