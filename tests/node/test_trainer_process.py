"""Real trainer processes: unlike tiers reach the same roots, and every death is noticed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from psyche_p2p.config import canonical_bytes, load_run_config
from psyche_p2p.errors import ExitCode, Unavailable
from psyche_p2p.identity import Identity
from psyche_p2p.node.trainer_process import TrainerFailed, TrainerProcess
from psyche_p2p.optim.schedule import learning_rate_to_bits
from psyche_p2p.train.messages import (
    Applied,
    Apply,
    Evaluate,
    Evaluated,
    Event,
    MakeTargets,
    Progress,
    Save,
    Saved,
    Setup,
    TargetsMade,
    Train,
    Trained,
)

CONFIG = load_run_config(Path(__file__).parents[2] / "configs" / "nano.toml")
BITS = learning_rate_to_bits(2e-3)
PEER = Identity.from_seed(b"t" * 32).peer_id


def setup_in(folder: Path, tier: int = 0) -> Setup:
    return Setup(
        config=canonical_bytes(CONFIG).decode(),
        store=str(folder / "store"),
        store_bytes=1 << 30,
        peer=PEER,
        tier=tier,
        device="cpu",
        threads=1,
        micro_batch=2,
        checkpoint="",
        data_dir="",
        compile=False,
    )


async def result_of(trainer: TrainerProcess) -> Event:
    while isinstance(event := await trainer.receive(), Progress):
        pass
    return event


async def trained_by(trainers: Sequence[TrainerProcess], round_index: int) -> list[Trained]:
    """Every trainer's contribution for its own two samples of a round."""
    for number, trainer in enumerate(trainers):
        start = (round_index * len(trainers) + number) * 2
        await trainer.send(Train(0, round_index, start, start + 2, BITS))
    results = [await result_of(trainer) for trainer in trainers]
    assert all(isinstance(result, Trained) for result in results)
    return [result for result in results if isinstance(result, Trained)]


@pytest.mark.slow
def test_unlike_tiers_reach_the_same_roots(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            trainers = [
                await stack.enter_async_context(TrainerProcess(setup_in(tmp_path, tier)))
                for tier in (0, 1, 2)
            ]
            for trainer in trainers:
                ready = await trainer.ready()
                assert ready.memory_bytes > 0
            for round_index in range(2):
                trained = await trained_by(trainers, round_index)
                assert all(0 < one.loss < 7 for one in trained)
                blobs = tuple(sorted(one.blob for one in trained))
                roots = []
                for number, trainer in enumerate(trainers):
                    # each peer applies them in an order of its own
                    turned = blobs[number:] + blobs[:number]
                    await trainer.send(Apply(round_index, turned, BITS))
                    applied = await result_of(trainer)
                    assert isinstance(applied, Applied)
                    roots.append(applied.roots)
                full, half, quarter = roots
                assert full[:2] == half
                assert half[:1] == quarter
            await trainers[0].send(Evaluate(4))
            evaluated = await result_of(trainers[0])
            assert isinstance(evaluated, Evaluated)
            assert evaluated.tiers == (0, 1, 2)
            await trainers[0].send(Save(str(tmp_path / "saved")))
            saved = await result_of(trainers[0])
            assert isinstance(saved, Saved)
            assert saved.root == full[-1]
        resumed = replace(setup_in(tmp_path), checkpoint=saved.folder)
        async with TrainerProcess(resumed) as again:
            assert (await again.ready()).roots == full

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_killed_trainer_is_noticed_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with TrainerProcess(setup_in(tmp_path)) as trainer:
            await trainer.ready()
            await trainer.send(Train(0, 0, 0, 12, BITS))
            os.kill(trainer.pid, signal.SIGKILL)
            with pytest.raises(Unavailable, match=r"trainer process is gone \(signal 9\)"):
                await result_of(trainer)

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_command_that_fails_names_its_cause_and_the_trainer_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with TrainerProcess(setup_in(tmp_path)) as trainer:
            before = (await trainer.ready()).roots
            await trainer.send(Apply(0, ("00" * 32,), BITS))
            with pytest.raises(TrainerFailed) as caught:
                await result_of(trainer)
            assert caught.value.command == "Apply"
            await trainer.send(Apply(0, (), BITS))
            applied = await result_of(trainer)
            assert isinstance(applied, Applied)
            assert applied.roots == before

    asyncio.run(scenario())


@pytest.mark.slow
def test_what_a_machine_cannot_do_is_said_before_training(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> TrainerFailed:
        async with TrainerProcess(setup) as trainer:
            with pytest.raises(TrainerFailed) as caught:
                await trainer.ready()
            return caught.value

    wrong = replace(setup_in(tmp_path), device="abacus")
    error = asyncio.run(scenario(wrong))
    assert str(error) == "there is no device 'abacus'; choose auto, cpu, cuda, cuda:N or mps"
    assert error.exit_code is ExitCode.RESOURCES


@pytest.mark.slow
def test_a_teachers_targets_reach_a_student_in_another_process(tmp_path: Path) -> None:
    distillation = CONFIG.distillation.model_copy(update={"enabled": True})
    text = canonical_bytes(CONFIG.model_copy(update={"distillation": distillation})).decode()

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            teacher, student = [
                await stack.enter_async_context(
                    TrainerProcess(replace(setup_in(tmp_path, tier), config=text))
                )
                for tier in (0, 2)
            ]
            for trainer in (teacher, student):
                await trainer.ready()
            await teacher.send(MakeTargets(0, 0, 0, 2))
            made = await result_of(teacher)
            assert isinstance(made, TargetsMade)
            await student.send(Train(0, 0, 0, 2, BITS, teacher=PEER, targets=made.blob))
            trained = await result_of(student)
            assert isinstance(trained, Trained)
            assert trained.distillation is not None
            await student.send(Train(0, 1, 2, 4, BITS, teacher=PEER))
            with pytest.raises(TrainerFailed, match=rf"\[2, 4\) from teacher {PEER}"):
                await result_of(student)

    asyncio.run(scenario())
