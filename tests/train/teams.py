"""Trainers with several processes, the first of which is the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from psyche_p2p.config import RunConfig, canonical_bytes
from psyche_p2p.data.manifest import Manifest
from psyche_p2p.data.samples import Samples, SampleSource, without_prediction
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BatchInterval
from psyche_p2p.train.messages import Setup
from psyche_p2p.train.team import start_team
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.workshop import open_workshop

PEER = Identity.from_seed(b"s" * 32).peer_id


class UnevenlyMasked:
    """Samples of which some predict all of their tokens, some a few, and one none."""

    _KEPT = (32, 0, 20, 7, 31, 13)

    def __init__(self, samples: SampleSource) -> None:
        self._samples = samples

    @property
    def manifest(self) -> Manifest:
        return self._samples.manifest

    @property
    def heldout_count(self) -> int:
        return self._samples.heldout_count

    def train_samples(self, batch: BatchInterval) -> Samples:
        return self._masked(self._samples.train_samples(batch))

    def heldout_samples(self, start: int, count: int) -> Samples:
        return self._masked(self._samples.heldout_samples(start, count))

    def _masked(self, samples: Samples) -> Samples:
        kept = np.resize(self._KEPT, len(samples))
        is_masked = np.arange(samples.shape[1]) > kept[:, None]
        return np.where(is_masked, without_prediction(samples), samples)


@contextmanager
def trainer_on(
    device: str,
    folder: Path,
    config: RunConfig,
    *,
    tier: int,
    micro_batch: int = 64,
    is_masked: bool = False,
) -> Iterator[Trainer]:
    """A trainer, with workers if its devices are several."""
    setup = Setup(
        config=canonical_bytes(config).decode(),
        store=str(folder / "store"),
        store_bytes=1 << 30,
        peer=PEER,
        tier=tier,
        device=device,
        threads=1,
        micro_batch=micro_batch,
        checkpoint="",
        data_dir="",
        compile=False,
    )
    lost: list[str] = []
    with ExitStack() as stack:
        team = start_team(setup, stack, lambda _: None, lost.append)
        shop = open_workshop(setup)
        if is_masked:
            shop = replace(shop, samples=UnevenlyMasked(shop.samples))
        team.join(shop.model, stack)
        yield Trainer(shop, lambda _: None, team)
    assert not lost
