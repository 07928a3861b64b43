"""Records one update of each tier with the real trainer: python -m ... RUN_FILE FOLDER TIER ..."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.rounds.recording import Recorded, write_recording
from psyche_p2p.config import RunConfig, canonical_bytes, load_run_config
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, Tier
from psyche_p2p.optim.schedule import learning_rate_to_bits
from psyche_p2p.train.messages import Setup, Train
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.workshop import open_workshop

_SAMPLES = 2
_TOKENS = 1 << 18


def main(arguments: list[str]) -> None:
    run_file, folder, *tiers = arguments
    config = load_run_config(Path(run_file))
    with tempfile.TemporaryDirectory() as work:
        write_tokens(config, Path(work))
        for tier in tiers:
            _record(config, Tier(int(tier)), Path(work), Path(folder))


def write_tokens(config: RunConfig, folder: Path) -> None:
    """Tokens as frequent as words are (Zipf), so that updates are as dense as in training."""
    chosen = np.random.default_rng(0).zipf(1.2, _TOKENS) % config.model.vocab_size
    chosen.astype("<u2").tofile(folder / "train.bin")


def _record(config: RunConfig, tier: Tier, work: Path, folder: Path) -> None:
    setup = Setup(
        config=canonical_bytes(config).decode(),
        store=str(work / "store"),
        store_bytes=1 << 30,
        peer=Identity.from_seed(bytes(32)).peer_id,
        tier=tier,
        device="cpu",
        threads=2,
        micro_batch=_SAMPLES,
        checkpoint="",
        data_dir=str(work),
        compile=False,
    )
    shop = open_workshop(setup)
    trainer = Trainer(shop, lambda _: None)
    ready = trainer.ready(0.0)
    bits = learning_rate_to_bits(config.schedule.learning_rate)
    trained = trainer.train(Train(0, 0, 0, _SAMPLES, bits))
    recorded = Recorded(
        parameters=ready.parameters,
        schema_hash=ready.schema_hash,
        data_manifest=ready.data_manifest,
        roots=ready.roots,
        memory_bytes=ready.memory_bytes,
        loss=trained.loss,
        seconds=trained.seconds,
    )
    update = shop.store.read(BlobHash(bytes.fromhex(trained.blob)))
    write_recording(folder, tier, recorded, bytes(update))


if __name__ == "__main__":
    main(sys.argv[1:])
