"""Several processes make the contribution that one makes of the whole batch.

Cut into the same portions, one process computes the same bits. Without portions it adds in another
order: gradients then differ by float32 rounding, at most `ROUNDING` of their norm.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from psyche_p2p.blobs import read_layout, read_update
from psyche_p2p.config import canonical_bytes
from psyche_p2p.errors import ModelError, ResourceError
from psyche_p2p.ids import BlobHash
from psyche_p2p.optim.schedule import learning_rate_to_bits
from psyche_p2p.train import gradient_maker
from psyche_p2p.train.messages import Apply, Evaluate, MakeTargets, Train, Trained
from psyche_p2p.train.team import share_of
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.worker_messages import WorkerSetup
from psyche_p2p.train.worker_process import WorkerProcess
from tests.train.teams import trainer_on
from tests.train.test_teaching import TEACHER, config_with, trainer_in

BITS = learning_rate_to_bits(2e-3)
ROUNDING = 1e-6
SAME_VOTES = 0.99
SIZES = (4, 5, 1, 6, 2, 7, 3, 8)


@pytest.mark.parametrize(("samples", "ranks"), [(8, 2), (7, 3), (2, 4), (1, 2), (64, 7)])
def test_shares_are_neighbours_and_differ_by_at_most_one(samples: int, ranks: int) -> None:
    shares = [share_of(samples, rank, ranks) for rank in range(ranks)]
    assert [index for share in shares for index in range(share.start, share.stop)] == list(
        range(samples)
    )
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_two_processes_contribute_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student, plain at first and then taught; batches of all sizes, also of one sample.

    Before that a step fails in the first process, which leaves no answer behind for the next.
    """
    config = config_with()
    teacher = trainer_in(tmp_path, 0, config)
    with ExitStack() as stack:
        team, portions, whole = (
            stack.enter_context(trainer_on(device, tmp_path, config, tier=2))
            for device in ("cpu,cpu", "cpu", "cpu")
        )
        with monkeypatch.context() as broken:
            broken.setattr(gradient_maker, "accumulate_gradients", fail)
            with pytest.raises(ModelError, match="for a test"):
                team.train(Train(0, 0, 8, 12, BITS))
        for round_index, size in enumerate(SIZES):
            targets = teacher.make_targets(MakeTargets(0, round_index, 8, 8 + size)).blob
            command = Train(0, round_index, 8, 8 + size, BITS, teacher=TEACHER, targets=targets)
            portions._gradients_of.micro_batch = -(-size // 2)
            found, same, near = (one.train(command) for one in (team, portions, whole))
            assert found.blob == same.blob, round_index
            assert (found.distillation is None) == (round_index <= 3)
            if found.distillation is not None and same.distillation is not None:
                stats = asdict(same.distillation)
                assert asdict(found.distillation) == pytest.approx(stats, rel=1e-5)
            require_near(team, found, whole, near)
            roots = {
                one.apply(Apply(round_index, (found.blob,), BITS)).roots
                for one in (team, portions, whole)
            }
            assert len(roots) == 1
            teacher.apply(Apply(round_index, (found.blob,), BITS))


def test_masks_and_local_steps_are_weighted_by_predictions(tmp_path: Path) -> None:
    """Six samples in four inner steps: shares of one and of none, some without a prediction."""
    settings = {"kind": "sparse_loco", "sparse_loco": {"inner_steps": 4}}
    config = config_with(optimizer=settings, distillation={"enabled": False})
    with ExitStack() as stack:
        team, portions, whole = (
            stack.enter_context(
                trainer_on(
                    device, tmp_path, config, tier=0, micro_batch=micro_batch, is_masked=True
                )
            )
            for device, micro_batch in (("cpu,cpu", 64), ("cpu", 1), ("cpu", 64))
        )
        for round_index in range(3):
            command = Train(0, round_index, 6 * round_index, 6 * round_index + 6, BITS)
            found, same, near = (one.train(command) for one in (team, portions, whole))
            assert found.blob == same.blob, round_index
            require_near(team, found, whole, near)
            for one in (team, portions, whole):
                one.apply(Apply(round_index, (found.blob,), BITS))


@pytest.mark.long
def test_after_many_rounds_of_its_own_it_is_where_one_process_is(tmp_path: Path) -> None:
    """Three processes."""
    config = config_with(distillation={"enabled": False})
    losses = []
    for device in ("cpu,cpu,cpu", "cpu"):
        with trainer_on(device, tmp_path, config, tier=0) as trainer:
            for round_index in range(20):
                start = 8 * round_index
                trained = trainer.train(Train(0, round_index, start, start + 8, BITS))
                trainer.apply(Apply(round_index, (trained.blob,), BITS))
            losses.append(trainer.evaluate(Evaluate(16)).losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_what_a_worker_lacks_is_said_with_its_device(tmp_path: Path) -> None:
    setup = WorkerSetup(
        config=canonical_bytes(config_with()).decode(),
        tier=2,
        device="abacus",
        rank=1,
        ranks=2,
        backend="gloo",
        meeting="",
        threads=1,
        micro_batch=1,
        cpu_processes=1,
        sharing=1,
        compile=False,
    )
    deaths: list[str] = []
    with (
        (tmp_path / "meeting").open("wb") as meeting,
        WorkerProcess(setup, meeting.fileno(), lambda _: None, deaths.append) as worker,
        pytest.raises(ResourceError, match=r"^abacus: there is no device 'abacus'; choose auto"),
    ):
        worker.receive()
    assert deaths == []


def fail(*_: object, **__: object) -> float:
    raise ModelError("for a test")


def require_near(team: Trainer, found: Trained, whole: Trainer, near: Trained) -> None:
    """The gradients of the last step, the loss and the votes are the same but for rounding."""
    ours, theirs = (
        torch.cat([parameter.grad.flatten() for parameter in one._shop.model.parameters()])  # type: ignore[union-attr]
        for one in (team, whole)
    )
    assert torch.linalg.vector_norm(ours - theirs) <= ROUNDING * torch.linalg.vector_norm(theirs)
    assert found.loss == pytest.approx(near.loss, rel=1e-5)
    assert found.tokens == near.tokens
    assert shared_votes(votes_of(team, found), votes_of(whole, near)) >= SAME_VOTES


def votes_of(trainer: Trainer, trained: Trained) -> set[tuple[int, int, int, bool]]:
    """Group, chunk, position and sign of everything that was sent."""
    data = trainer._shop.store.read(BlobHash(bytes.fromhex(trained.blob)))
    votes = set()
    for number, group in enumerate(read_update(read_layout(data)).coefficients.groups):
        chunks = group.chunk_of_each()
        votes |= {
            (number, int(chunk), int(position), bool(sign))
            for chunk, position, sign in zip(chunks, group.positions, group.negative, strict=True)
        }
    return votes


def shared_votes(
    left: set[tuple[int, int, int, bool]], right: set[tuple[int, int, int, bool]]
) -> float:
    return len(left & right) / max(len(left), len(right), 1)
