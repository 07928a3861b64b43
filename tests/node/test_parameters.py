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
from psyche_p2p.train.messages import Command, Evaluate, Evaluated, Save, Saved

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
