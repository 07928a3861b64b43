"""Can running a batch again tell honest work from none? The share of an update's signs that agree.

    tools/bench verification                                  # nano.toml, tiers 0, 0 and 1
    tools/bench verification --rounds 80 --set optimizer.kind=sparse_loco

Three trainers train in this process. After each round one of tier 0 computes the gradient of the
others' batches at the agreed parameters, and compares its signs with those of their updates, with
their updates of the round before (`stale`), with a third one's (`others`), and with random signs
(`noise`). For each kind: single checks, and means of `--window` that follow one another.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from localnet_parts.plan import apply_change
from torch import Tensor

from benchmarks.report import report
from psyche_p2p.blobs import BlobStore, Transform, Update, read_layout, read_update
from psyche_p2p.codec import GroupCoefficients, GroupMember
from psyche_p2p.config import RunConfig, canonical_bytes, load_run_config
from psyche_p2p.config.load import check_run_config
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BatchInterval, BlobHash, Tier
from psyche_p2p.model.gradients import accumulate_gradients
from psyche_p2p.optim.chunks import as_matrix, blocks_of_member, matrix_index, narrow_to
from psyche_p2p.optim.dct import add_dct_
from psyche_p2p.optim.schedule import compute_run_learning_rate, learning_rate_to_bits
from psyche_p2p.train.messages import Apply, Setup, Train, Trained
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.workshop import Workshop, open_workshop

_ROOT = Path(__file__).resolve().parents[2]
_TIERS = (0, 0, 1)
_CHECKED, _CHECKER = (0, 2), 1


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/bench verification", description=__doc__)
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "nano.toml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--samples", type=int, default=4, help="of each trainer and round")
    parser.add_argument("--window", type=int, default=8)
    options = parser.parse_args(arguments)
    values = load_run_config(options.config).model_dump()
    for change in options.changes:
        apply_change(values, change)
    config = check_run_config(values, "this study's configuration")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        study = Study(config, Path(folder), options.samples)
        found = defaultdict(list)
        for index in range(options.rounds):
            for kind, share in study.run_round(index):
                found[kind].append(share)
    for kind, shares in sorted(found.items()):
        means = np.convolve(shares, np.ones(options.window) / options.window, "valid")
        report(
            f"verification.{kind}",
            round(float(np.mean(shares)), 3),
            least=round(min(shares), 3),
            most=round(max(shares), 3),
            least_mean=round(float(min(means)), 3),
            most_mean=round(float(max(means)), 3),
            window=options.window,
            checks=len(shares),
        )
    return 0


class Study:
    """Three trainers, one of which looks at what the others send."""

    def __init__(self, config: RunConfig, folder: Path, samples: int) -> None:
        self._config = config
        self._samples = samples
        self._shops = [
            open_workshop(_setup(config, folder, number, tier))
            for number, tier in enumerate(_TIERS)
        ]
        self._trainers = [Trainer(shop, lambda _: None) for shop in self._shops]
        self._rng = np.random.default_rng(config.run.seed)
        self._waiting: list[tuple[int, int, list[Trained]]] = []
        self._before: list[Trained] = []

    def run_round(self, index: int) -> Iterator[tuple[str, float]]:
        """Train, settle what the pipeline's depth lets settle, and look."""
        bits = learning_rate_to_bits(compute_run_learning_rate(self._config, index))
        first = index * len(_TIERS) * self._samples
        batches = [
            BatchInterval(first + number * self._samples, first + (number + 1) * self._samples)
            for number in range(len(_TIERS))
        ]
        made = [
            trainer.train(Train(0, index, batch.start, batch.end, bits))
            for trainer, batch in zip(self._trainers, batches, strict=True)
        ]
        self._waiting.append((index, bits, made))
        if len(self._waiting) > self._config.rounds.pipeline_depth:
            self._settle(*self._waiting.pop(0))
        if index > 1:  # the first round has a learning rate of 0, and its updates say nothing
            for number in _CHECKED:
                yield from self._look(number, batches[number], made)
        self._before = made

    def _settle(self, index: int, bits: int, made: list[Trained]) -> None:
        blobs = tuple(sorted(one.blob for one in made))
        for trainer in self._trainers:
            trainer.apply(Apply(index, blobs, bits))

    def _look(
        self, number: int, batch: BatchInterval, made: list[Trained]
    ) -> Iterator[tuple[str, float]]:
        checker = self._shops[_CHECKER]
        gradients = compute_gradients(checker, batch, Tier(_TIERS[number]))
        honest = _read(checker.store, made[number])
        yield f"honest_tier_{_TIERS[number]}", share_of_same_signs(honest, gradients)
        yield "noise", share_of_same_signs(_with_noise(honest, self._rng), gradients)
        stale = _read(checker.store, self._before[number])
        yield "stale", share_of_same_signs(stale, gradients)
        if _TIERS[number] == _TIERS[_CHECKER]:
            other = _read(checker.store, made[_CHECKER])
            yield "others", share_of_same_signs(other, gradients)


def compute_gradients(shop: Workshop, batch: BatchInterval, tier: Tier) -> Mapping[str, Tensor]:
    """Of a batch, at the agreed parameters and a tier that this trainer holds."""
    with torch.no_grad():
        for name, parameter in shop.model.named_parameters():
            parameter.copy_(shop.optimizer.masters[name])
    shop.model.zero_grad(set_to_none=True)
    tokens_bt = torch.as_tensor(shop.samples.train_samples(batch))
    accumulate_gradients(shop.model, tokens_bt, shop.model.view_at(tier), precision=shop.precision)
    named = shop.model.named_parameters()
    return {name: one.grad for name, one in named if one.grad is not None}


@torch.no_grad()
def share_of_same_signs(update: Update, gradients: Mapping[str, Tensor]) -> float:
    """Of the coefficients that the gradients have, too."""
    same = compared = 0
    for group, chosen in zip(update.grid.groups, update.coefficients.groups, strict=True):
        for member in group.members:
            is_same = _compare(update.transform, member, chosen, gradients[member.tensor.name])
            same, compared = same + int(is_same.sum()), compared + len(is_same)
    return same / max(compared, 1)


def _compare(
    transform: Transform, member: GroupMember, chosen: GroupCoefficients, gradient: Tensor
) -> np.ndarray:
    offsets = chosen.offsets()
    own = slice(offsets[member.first], offsets[member.first + member.tensor.chunks])
    whole_rc = as_matrix(narrow_to(gradient, member.tensor.shape).contiguous())
    if transform is Transform.DCT:
        transformed_rc = torch.zeros_like(whole_rc)
        for block in blocks_of_member(member):
            add_dct_(transformed_rc, whole_rc, block, decay=0.0, scale=1.0)
        whole_rc = transformed_rc
    index = matrix_index(member, chosen.chunk_of_each()[own], chosen.positions[own])
    values = whole_rc.reshape(-1)[torch.from_numpy(index)].numpy()
    is_same: np.ndarray = ((values < 0) == chosen.negative[own])[values != 0]
    return is_same


def _with_noise(update: Update, rng: np.random.Generator) -> Update:
    groups = tuple(
        replace(group, negative=rng.random(len(group.negative)) < 0.5)
        for group in update.coefficients.groups
    )
    return replace(update, coefficients=replace(update.coefficients, groups=groups))


def _read(store: BlobStore, made: Trained) -> Update:
    return read_update(read_layout(store.read(BlobHash(bytes.fromhex(made.blob)))))


def _setup(config: RunConfig, folder: Path, number: int, tier: int) -> Setup:
    return Setup(
        config=canonical_bytes(config).decode(),
        store=str(folder / "store"),
        store_bytes=1 << 33,
        peer=Identity.from_seed(bytes([number + 1]) * 32).peer_id,
        tier=tier,
        device="cpu",
        threads=1,
        micro_batch=0,
        checkpoint="",
        data_dir="",
        compile=False,
    )
