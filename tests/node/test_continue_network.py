"""A run that goes on from another's checkpoint: one peer has it, another gets it from that one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from psyche_p2p.config import load_run_config
from psyche_p2p.data.load import load_samples
from psyche_p2p.ids import BlobHash, Tier
from psyche_p2p.observe.events import (
    Resynced,
    RootAgreed,
    RoundClosed,
    Trained,
)
from tests.cli.test_run_continue import ROUND, run, write_taken
from tests.node.living import living, make_config

LIMIT_S = 300.0


@pytest.mark.long
def test_a_run_goes_on_from_a_checkpoint_that_only_one_peer_has(tmp_path: Path) -> None:
    short = {"epoch_s": 12.0, "warmup_s": 11.0, "max_round_train_s": 11.0, "cooldown_s": 0.5}
    config = make_config(run={"total_rounds": 100_000, "seed": 5}, rounds=short)
    taken = write_taken(
        tmp_path / "taken", config=config, data=BlobHash(load_samples(config).manifest.digest)
    )
    assert run(taken, "--out", tmp_path / "again") == 0
    asyncio.run(asyncio.wait_for(_go_on(tmp_path, taken), LIMIT_S))


async def _go_on(folder: Path, taken: Path) -> None:
    run_file = folder / "again" / "run.toml"
    first_root = load_run_config(run_file).beginning.param_root
    async with living(folder / "a", run_file=run_file, checkpoint=taken, tier=Tier(0)) as founder:
        begun = await founder.until(RoundClosed)
        assert begun.round == ROUND
        trained = founder.find(Trained)
        assert trained is not None
        assert trained.batch_start == 288
        address = await founder.address()
        async with living(folder / "b", bootstrap=(address,)) as joiner:
            await joiner.until(Resynced)
            both = await joiner.until(RoundClosed, lambda event: len(event.trainers) == 2)
            ours, theirs = [
                await peer.until(RootAgreed, lambda event: event.param_round > both.round + 1)
                for peer in (joiner, founder)
            ]
            assert ours == theirs
            assert first_root not in ours.roots
