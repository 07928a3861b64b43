"""A peer with several local processes: one contribution, no orphans, and every death is noticed."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from psyche_p2p.ids import Tier
from psyche_p2p.node import trainer_desk
from psyche_p2p.node.trainer_desk import TrainerDesk, TrainerLost
from psyche_p2p.node.trainer_process import TrainerProcess
from psyche_p2p.observe.events import Applied, RoundClosed
from psyche_p2p.train.messages import Setup, Train, Trained
from tests.node.living import living, make_config, write_run_file
from tests.node.test_trainer_process import BITS, result_of, setup_in

LIMIT_S = 600.0
_GONE_S = 60.0
_LOOPBACK = "0100007F"  # 127.0.0.1, as /proc writes it


def setup_with(folder: Path, device: str) -> Setup:
    return replace(setup_in(folder, tier=2), device=device)


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:  # ended while we looked
                continue
            if int(status.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


@contextmanager
def watched(*pids: int) -> Iterator[None]:
    """At the end of the block these processes are, or soon will be, gone."""
    with ExitStack() as stack:
        descriptors = [os.pidfd_open(pid) for pid in pids]
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        yield
        for pid, descriptor in zip(pids, descriptors, strict=True):
            assert select.select([descriptor], [], [], _GONE_S)[0], f"{pid} is still there"


def listening_of(pid: int) -> set[str]:
    """The addresses that a process accepts TCP connections at, as /proc writes them."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith("socket:["):
            sockets.add(target[len("socket:[") : -1])
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return {row[1].rpartition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What the desk warns of."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(trainer_desk.__name__)
    logger.addHandler(handler)
    yield heard
    logger.removeHandler(handler)


@pytest.mark.slow
def test_a_dead_process_is_named_and_none_is_left_behind(
    tmp_path: Path, warnings: list[str]
) -> None:
    """A worker is killed in mid-batch, and later the trainer."""

    async def play() -> None:
        async with TrainerDesk(setup_with(tmp_path, "cpu,cpu")) as desk:
            ready = await desk.started()
            assert ready.device == "cpu,cpu"
            assert desk.pid is not None
            (worker,) = children_of(desk.pid)
            assert listening_of(worker) | listening_of(desk.pid) == {_LOOPBACK}
            with watched(worker, desk.pid):
                long = asyncio.create_task(desk.ask(Train(0, 0, 0, 4000, BITS)))
                await asyncio.sleep(0)
                os.kill(worker, signal.SIGKILL)
                with pytest.raises(TrainerLost, match=r"is gone \(exit code 1\)"):
                    await long
            assert warnings.count("the training process for cpu is gone (signal 9)") == 1
            trained = await desk.ask(Train(0, 0, 0, 3, BITS))
            assert isinstance(trained, Trained)
            (worker,) = children_of(desk.pid)
            with watched(worker, desk.pid):
                os.kill(desk.pid, signal.SIGKILL)

    asyncio.run(play())


@pytest.mark.slow
def test_a_peer_with_two_processes_agrees_with_one_that_has_one(tmp_path: Path) -> None:
    config = make_config(members={"init_min_members": 2})
    run_file = write_run_file(config, tmp_path / "run.toml")

    async def play() -> None:
        async with living(tmp_path / "a", run_file=run_file, tier=Tier(0), device="cpu,cpu") as two:
            address = await two.address()
            async with living(tmp_path / "b", bootstrap=(address,)) as one:
                closed = await two.until(RoundClosed, lambda event: len(event.trainers) == 2)
                after = closed.round + 2  # with another round on top of it
                ours, theirs = [
                    await peer.until(Applied, lambda event: event.param_round == after)
                    for peer in (two, one)
                ]
                assert ours.roots[0] == theirs.roots[0]

    asyncio.run(asyncio.wait_for(play(), LIMIT_S))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_contribute_what_one_does(tmp_path: Path) -> None:
    """Over NCCL."""
    require_same_loss(tmp_path, "cuda:0,cuda:1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_two_processes_may_share_a_gpu(tmp_path: Path) -> None:
    """Over gloo: NCCL wants a GPU a process."""
    require_same_loss(tmp_path, "cuda:0,cuda:0")


def require_same_loss(folder: Path, devices: str) -> None:
    async def train(device: str) -> Trained:
        async with TrainerProcess(setup_with(folder, device)) as trainer:
            await trainer.ready()
            await trainer.send(Train(0, 0, 0, 7, BITS))
            trained = await result_of(trainer)
            assert isinstance(trained, Trained)
            return trained

    several, alone = (asyncio.run(train(device)) for device in (devices, "cuda:0"))
    assert several.loss == pytest.approx(alone.loss, rel=1e-3)
    assert several.tokens == alone.tokens
