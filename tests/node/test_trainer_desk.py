"""A trainer that dies is replaced, also when the replacement dies, and never for ever."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from psyche_p2p.errors import ResourceError
from psyche_p2p.ids import Tier
from psyche_p2p.node import trainer_desk
from psyche_p2p.node.trainer_desk import TrainerDesk, TrainerLost
from psyche_p2p.train.messages import Evaluate, Evaluated
from tests.node.test_trainer_process import setup_in

STAND_IN = Path(__file__).with_name("brief_trainer.py")


def desk_with(folder: Path, fates: Sequence[str]) -> TrainerDesk:
    """A desk whose trainers meet these fates, one after the other, and the last for ever."""
    (folder / "fates").write_text("\n".join(fates))
    command = (sys.executable, str(STAND_IN), str(folder / "fates"))
    return TrainerDesk(setup_in(folder, Tier(0)), command)


def test_a_trainer_that_dies_while_it_starts_is_replaced_again(tmp_path: Path) -> None:
    async def play() -> None:
        fates = ["dies when asked", "dies before it is ready", "lives"]
        async with desk_with(tmp_path, fates) as desk:
            await desk.started()
            with pytest.raises(TrainerLost):
                await desk.ask(Evaluate(1))
            assert await desk.ask(Evaluate(1)) == Evaluated((), ())
            assert desk.restarts == 1

    asyncio.run(play())


def test_trainers_that_keep_dying_end_the_peer(tmp_path: Path) -> None:
    async def play() -> None:
        async with desk_with(tmp_path, ["dies when asked", "dies before it is ready"]) as desk:
            await desk.started()
            with pytest.raises(ResourceError, match="the trainer died 5 times"):
                await desk.ask(Evaluate(1))

    asyncio.run(play())


def test_a_trainer_that_never_starts_is_said_in_one_line(tmp_path: Path) -> None:
    async def play() -> None:
        async with desk_with(tmp_path, ["dies before it is ready"]) as desk:
            with pytest.raises(ResourceError, match=r"does not start: .*exit code 3"):
                await desk.started()

    asyncio.run(play())


def test_what_a_trainer_lacks_is_told_with_its_own_exit_code(tmp_path: Path) -> None:
    async def play() -> None:
        async with desk_with(tmp_path, ["has too little memory"]) as desk:
            with pytest.raises(ResourceError, match="tier 0 needs about") as found:
                await desk.started()
        assert str(found.value) == "tier 0 needs about 2 GB; use --tier 1"

    asyncio.run(play())


def test_the_last_words_of_one_that_died_meanwhile_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(trainer_desk, "_log", Hearing(heard))

    async def play() -> None:
        async with desk_with(tmp_path, ["says why and dies", "lives"]) as desk:
            await desk.started()
            assert desk._process is not None
            await desk._process._started().wait()
            with pytest.raises(TrainerLost, match=r"exit code 5"):
                await desk.ask(Evaluate(1))
            assert await desk.ask(Evaluate(1)) == Evaluated((), ())

    asyncio.run(play())
    assert heard == ["a process of it is gone", "the trainer is started again"]


class Hearing:
    """A log whose warnings are kept."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def info(self, event: str, **fields: object) -> None:
        pass

    def warning(self, event: str, **fields: object) -> None:
        self._heard.append(event)
