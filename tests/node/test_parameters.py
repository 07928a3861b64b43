"""The worker that keeps the parameters: what it leaves out so as not to hold up what matters."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from psyche_p2p.config import load_run_config
from psyche_p2p.ids import BlobHash, RoundIndex, Tier
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.checkpoints import Checkpoints
from psyche_p2p.node.parameters import Donors, Parameters
from psyche_p2p.node.settled import Settled
from psyche_p2p.node.snapshots import Snapshots
from psyche_p2p.node.trainer_desk import TrainerDesk
from psyche_p2p.train.messages import (
    Command,
    Evaluate,
    Evaluated,
    Save,
    Saved,
    Snapshot,
    Snapshotted,
)

CONFIG = load_run_config(Path(__file__).parents[2] / "configs" / "nano.toml")
CLOSED = 40


class Trainer:
    """Answers what it is asked, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[type[Command]] = []

    async def ask(self, command: Command) -> object:
        self.asked.append(type(command))
        return Saved("", "") if isinstance(command, Save) else Evaluated((0,), (4.0,))


def asked_at_the_end_of_an_epoch(folder: Path, applied: int, *, is_last: bool) -> list[type]:
    """What the trainer is asked for when the log closed 40 rounds and it has had fewer."""
    trainer, settled = Trainer(), Settled()
    settled.closed_count = RoundIndex(CLOSED)
    checkpoints = Checkpoints(folder, CONFIG, Tier(0), settled, BlobHash(bytes(32)))
    parameters = Parameters(
        cast("TrainerDesk", trainer),
        Tier(0),
        settled,
        cast("BlobDesk", None),
        cast("Snapshots", None),
        cast("Donors", None),
        checkpoints,
        lambda _event: None,
    )
    parameters.is_sound, parameters.applied = True, RoundIndex(applied)

    async def scenario() -> None:
        worker = asyncio.ensure_future(parameters.run())
        parameters.evaluate_and_save(is_last=is_last)
        await parameters.drain()
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    asyncio.run(scenario())
    return trainer.asked


def test_whoever_is_in_step_evaluates(tmp_path: Path) -> None:
    assert asked_at_the_end_of_an_epoch(tmp_path, CLOSED, is_last=False) == [Evaluate, Save]


def test_whoever_catches_up_leaves_it_to_the_others(tmp_path: Path) -> None:
    assert asked_at_the_end_of_an_epoch(tmp_path, CLOSED - 3, is_last=False) == []


def test_the_last_parameters_are_evaluated_in_any_case(tmp_path: Path) -> None:
    assert asked_at_the_end_of_an_epoch(tmp_path, CLOSED - 3, is_last=True) == [Evaluate, Save]


class SlowSnapshots:
    """A trainer whose snapshots take an hour, and the parts of a peer that ask it for them."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.oldest_round = None

    async def ask(self, command: Command) -> object:
        assert isinstance(command, Snapshot)
        self.asked.append((command.param_round, command.tier))
        return Snapshotted(command.param_round, command.tier, "00", 1, seconds=3600.0)

    def has(self, *_: object) -> bool:
        return False

    def add(self, _: Snapshotted) -> None:
        """Nobody asks for it."""


def test_however_many_ask_snapshots_take_no_more_than_their_share_of_the_time(
    tmp_path: Path,
) -> None:
    trainer, settled = SlowSnapshots(), Settled()
    checkpoints = Checkpoints(tmp_path, CONFIG, Tier(0), settled, BlobHash(bytes(32)))
    parameters = Parameters(
        cast("TrainerDesk", trainer),
        Tier(0),
        settled,
        cast("BlobDesk", None),
        cast("Snapshots", trainer),
        cast("Donors", None),
        checkpoints,
        lambda _event: None,
    )
    parameters.wanted_tiers = lambda: frozenset({Tier(0), Tier(1)})

    async def apply_many_rounds() -> None:
        for applied in range(1, 12):
            parameters.applied = RoundIndex(applied)
            await parameters._snapshot_if_due()

    asyncio.run(apply_many_rounds())
    assert sorted(trainer.asked) == [(4, 0), (4, 1)], "of both tiers, and then no more"
