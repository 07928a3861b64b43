"""The trainer's answers to trouble: out of memory, a loss that is no number, no data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from psyche_p2p.config import canonical_bytes, load_run_config
from psyche_p2p.errors import ModelError, ResourceError
from psyche_p2p.identity import Identity
from psyche_p2p.model.gradients import accumulate_gradients
from psyche_p2p.optim.schedule import learning_rate_to_bits
from psyche_p2p.train import gradient_maker
from psyche_p2p.train.messages import Apply, Load, Setup, Snapshot, Train, Trained, Warned
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.workshop import open_workshop

CONFIG = Path(__file__).parents[2] / "configs" / "nano.toml"
BITS = learning_rate_to_bits(2e-3)
COMMAND = Train(epoch=0, round=0, batch_start=0, batch_end=4, learning_rate_bits=BITS)


@pytest.fixture
def said() -> list[object]:
    return []


@pytest.fixture
def trainer(tmp_path: Path, said: list[object]) -> Trainer:
    setup = Setup(
        config=canonical_bytes(load_run_config(CONFIG)).decode(),
        store=str(tmp_path / "store"),
        store_bytes=1 << 30,
        peer=Identity.from_seed(b"t" * 32).peer_id,
        tier=2,
        device="cpu",
        threads=1,
        micro_batch=4,
        checkpoint="",
        data_dir="",
        compile=False,
    )
    return Trainer(open_workshop(setup), said.append)


def test_out_of_memory_is_answered_by_smaller_portions(
    trainer: Trainer, said: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def scarce(model: object, part_bt: torch.Tensor, *, micro_batch: int, **rest: object) -> float:
        asked.append(micro_batch)
        if micro_batch > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
        return accumulate_gradients(model, part_bt, micro_batch=micro_batch, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(gradient_maker, "accumulate_gradients", scarce)
    trained = trainer.train(COMMAND)
    assert isinstance(trained, Trained)
    assert asked == [4, 2, 1]
    warnings = [one.text for one in said if isinstance(one, Warned)]
    assert warnings == [f"out of memory: now {size} samples at once" for size in (2, 1)]


def test_not_even_one_sample_fits(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_arguments: object, **_options: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gradient_maker, "accumulate_gradients", exhausted)
    with pytest.raises(ResourceError, match="not even one sample fits"):
        trainer.train(COMMAND)


def test_another_error_is_not_taken_for_memory(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> float:
        raise RuntimeError("a bug")

    monkeypatch.setattr(gradient_maker, "accumulate_gradients", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        trainer.train(COMMAND)


def test_a_loss_that_is_no_number_never_reaches_the_momentum(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradient_maker, "accumulate_gradients", lambda *_, **__: float("nan"))
    with pytest.raises(ModelError, match=r"the loss of batch \[0, 4\) is nan; lower"):
        trainer.train(COMMAND)
    monkeypatch.setattr(gradient_maker, "accumulate_gradients", accumulate_gradients)
    again = trainer.train(COMMAND)
    applied = trainer.apply(Apply(0, (again.blob,), BITS))
    assert 0 < again.loss < 7
    assert len(applied.roots) == 1


def test_a_snapshot_is_the_same_every_time_and_is_loaded_back(trainer: Trainer) -> None:
    first, second = (trainer.snapshot(Snapshot(3, 2)) for _ in range(2))
    assert first.blob == second.blob
    loaded = trainer.load(Load(first.blob))
    assert loaded.param_round == 3
    assert trainer.snapshot(Snapshot(3, 2)).blob == first.blob
    assert trainer.snapshot(Snapshot(4, 2)).blob != first.blob
