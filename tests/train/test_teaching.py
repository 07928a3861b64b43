"""Teacher and student trainers: targets reach the student, and without them it never trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from psyche_p2p.blobs import (
    Origin,
    SealedBlob,
    read_layout,
    read_teacher_targets,
    seal_run_targets,
    seal_teacher_targets,
)
from psyche_p2p.codec import TopLogits
from psyche_p2p.config import RunConfig, canonical_bytes, load_run_config
from psyche_p2p.distill.errors import InvalidTargets, MissingTargets
from psyche_p2p.distill.stats import DistillationStats
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BatchInterval, BlobHash, EpochIndex, RoundIndex
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.evaluation import evaluate
from psyche_p2p.model.gradients import accumulate_gradients
from psyche_p2p.model.load import load_model, plan_load
from psyche_p2p.optim.schedule import learning_rate_to_bits
from psyche_p2p.train import gradient_maker
from psyche_p2p.train.messages import (
    Apply,
    Evaluate,
    MakeTargets,
    Save,
    Setup,
    TargetsMade,
    Train,
    Trained,
)
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.workshop import open_workshop

BITS = learning_rate_to_bits(2e-3)
TEACHER, STUDENT = (Identity.from_seed(seed * 32).peer_id for seed in (b"t", b"s"))
ROUND, START, END = 5, 8, 12
BATCH = BatchInterval(START, END)
SMALL: dict[str, dict[str, Any]] = {
    "model": {
        "hidden_size": 32,
        "intermediate_size": 256,
        "num_layers": 1,
        "max_seq_len": 32,
        "init_std": 0.3,  # so that teacher and student are not both uniform
    },
    "data": {"sequence_length": 32},
    "distillation": {"enabled": True, "start_round": 3, "warmup_rounds": 4, "top_k": 9},
}


def config_with(**changes: dict[str, Any]) -> RunConfig:
    """The nano run, much smaller, with distillation from round 4 on."""
    config = load_run_config(Path(__file__).parents[2] / "configs" / "nano.toml")
    for section, values in (*SMALL.items(), *changes.items()):
        settings = getattr(config, section).model_dump() | values
        config = config.model_copy(
            update={section: type(getattr(config, section)).model_validate(settings)}
        )
    return config


def trainer_in(folder: Path, tier: int, config: RunConfig) -> Trainer:
    setup = Setup(
        config=canonical_bytes(config).decode(),
        store=str(folder / "store"),
        store_bytes=1 << 30,
        peer=TEACHER if tier == 0 else STUDENT,
        tier=tier,
        device="cpu",
        threads=1,
        micro_batch=3,
        checkpoint="",
        data_dir="",
        compile=False,
    )
    return Trainer(open_workshop(setup), lambda _: None)


@pytest.fixture
def config() -> RunConfig:
    return config_with()


@pytest.fixture
def teacher(tmp_path: Path, config: RunConfig) -> Trainer:
    return trainer_in(tmp_path, 0, config)


@pytest.fixture
def student(tmp_path: Path, config: RunConfig) -> Trainer:
    return trainer_in(tmp_path, 2, config)


@pytest.fixture
def never_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> float:
        raise AssertionError("a student trained without its teacher")

    monkeypatch.setattr(gradient_maker, "accumulate_gradients", fail)


def train(targets: str = "", teacher: str = TEACHER, round_index: int = ROUND) -> Train:
    return Train(0, round_index, START, END, BITS, teacher=teacher, targets=targets)


def made_by(teacher: Trainer, round_index: int = ROUND) -> TargetsMade:
    return teacher.make_targets(MakeTargets(0, round_index, START, END))


def add(trainer: Trainer, sealed: SealedBlob) -> str:
    return trainer._shop.store.add(sealed).hex()


@pytest.mark.parametrize("form", ["compact", "plain"])
def test_a_student_trains_on_what_its_teacher_says(tmp_path: Path, form: str) -> None:
    config = config_with(distillation={"targets_form": form})
    teacher, student = (trainer_in(tmp_path, tier, config) for tier in (0, 2))
    made = made_by(teacher)
    trained = student.train(train(made.blob))
    stats = trained.distillation
    assert isinstance(stats, DistillationStats)
    assert stats.beta_requested == stats.beta == pytest.approx(0.1)
    assert stats.q_topk_mass == pytest.approx(made.top_mass, rel=1e-3)
    assert stats.kd == pytest.approx(stats.kd_raw * stats.kd_scale)
    assert all(getattr(stats, field.name) > 0 for field in fields(stats))
    assert trained.loss == stats.ce
    assert made.size_bytes > 0


def test_what_it_learns_is_not_what_it_would_learn_alone(
    tmp_path: Path, teacher: Trainer, student: Trainer
) -> None:
    taught = student.train(train(made_by(teacher).blob))
    alone = trainer_in(tmp_path, 2, config_with(distillation={"enabled": False}))
    untaught = alone.train(train())
    assert untaught.distillation is None
    assert taught.loss == pytest.approx(untaught.loss, rel=1e-5)
    assert taught.payload != untaught.payload


def test_the_statistics_do_not_depend_on_the_portions(
    tmp_path: Path, config: RunConfig, teacher: Trainer
) -> None:
    found: list[DistillationStats | None] = []
    for micro_batch in (1, 4):
        student = trainer_in(tmp_path, 2, config)
        student._gradients_of.micro_batch = micro_batch
        found.append(student.train(train(made_by(teacher).blob)).distillation)
    for field in fields(DistillationStats):
        left, right = (getattr(stats, field.name) for stats in found)
        assert left == pytest.approx(right, rel=1e-4), field.name


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (train(), f"no targets for batch {BATCH} from teacher {TEACHER}: they did not come"),
        (train(teacher=""), f"no targets for batch {BATCH} from teacher \\(none\\): nobody"),
        (train("ab" * 32), f"no targets for batch {BATCH} from teacher {TEACHER}: blob abab"),
    ],
    ids=["late", "nobody", "lost"],
)
def test_without_targets_a_student_fails_and_says_whose(
    student: Trainer, command: Train, reason: str
) -> None:
    with pytest.raises(MissingTargets, match=reason.replace("[8, 12)", r"\[8, 12\)")) as caught:
        student.train(command)
    assert caught.value.batch == BATCH
    assert caught.value.teacher == (command.teacher or None)


def forged(change: Callable[[TopLogits], TopLogits]) -> Callable[[Trainer, TopLogits], SealedBlob]:
    """Plain targets with something changed, all hashes made to fit."""

    def seal(teacher: Trainer, top: TopLogits) -> SealedBlob:
        found = change(top)
        return seal_teacher_targets(
            origin_of(teacher),
            found.indices.astype(np.uint16),
            found.logits.astype(np.float16),
            found.logsumexp.astype(np.float32),
            tokens=BATCH.size * 32,
            loss=0.0,
        )

    return seal


def origin_of(teacher: Trainer, **changes: Any) -> Origin:
    shop = teacher._shop
    origin = Origin(
        run_id=shop.run_id,
        epoch=EpochIndex(0),
        round=RoundIndex(ROUND),
        tier=shop.tier,
        schema_hash=shop.schema_hash,
        batch=BATCH,
        producer=TEACHER,
    )
    return replace(origin, **changes)


def elsewhere(**changes: Any) -> Callable[[Trainer, TopLogits], SealedBlob]:
    """Good targets for something else."""

    def seal(teacher: Trainer, top: TopLogits) -> SealedBlob:
        return seal_run_targets(teacher._shop.config, origin_of(teacher, **changes), top)

    return seal


INVALID: dict[str, tuple[Callable[[Trainer, TopLogits], SealedBlob], str]] = {
    "wrong batch": (elsewhere(batch=BatchInterval(0, 4)), r"batch \[0, 4\), expected \[8, 12\)"),
    "wrong round": (elsewhere(round=RoundIndex(4)), "round 4, expected 5"),
    "another's": (elsewhere(producer=STUDENT), "producer"),
    "wrong shape": (
        forged(lambda top: replace(top, indices=top.indices[..., :4], logits=top.logits[..., :4])),
        r"tensors: 'indices' \(4, 32, 4\)",
    ),
    "NaN": (
        forged(lambda top: replace(top, logsumexp=top.logsumexp * np.float32("nan"))),
        "tensor logsumexp holds a value that is not finite",
    ),
    "unsorted": (
        forged(lambda top: replace(top, indices=top.indices[..., ::-1])),
        "indices do not rise",
    ),
    "mass above 1": (
        forged(lambda top: replace(top, logsumexp=top.logsumexp - np.float32(4))),
        "of the probability",
    ),
}


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize("case", INVALID)
def test_invalid_targets_are_never_trained_on(tmp_path: Path, case: str) -> None:
    seal, reason = INVALID[case]
    config = config_with(distillation={"targets_form": "plain"})
    teacher, student = (trainer_in(tmp_path, tier, config) for tier in (0, 2))
    shop = teacher._shop
    honest = BlobHash(bytes.fromhex(made_by(teacher).blob))
    top = read_teacher_targets(read_layout(shop.store.read(honest)))
    with pytest.raises(InvalidTargets, match=reason) as caught:
        student.train(train(add(teacher, seal(teacher, top))))
    assert caught.value.batch == BATCH
    assert caught.value.teacher == TEACHER
    assert str(BATCH) in str(caught.value)
    assert TEACHER in str(caught.value)


@pytest.mark.usefixtures("never_trains")
def test_compact_targets_of_too_much_mass_are_invalid(teacher: Trainer, student: Trainer) -> None:
    honest = read_layout(teacher._shop.store.read(BlobHash(bytes.fromhex(made_by(teacher).blob))))
    top = read_teacher_targets(honest)
    bad = replace(top, logsumexp=top.logsumexp - np.float32(4))
    sealed = seal_run_targets(teacher._shop.config, origin_of(teacher), bad)
    with pytest.raises(InvalidTargets, match="of the probability"):
        student.train(train(add(teacher, sealed)))


def test_after_a_failed_round_it_trains_again(
    tmp_path: Path, config: RunConfig, teacher: Trainer, student: Trainer
) -> None:
    """And as if nothing had been: its optimizer has seen nothing of the round."""
    with pytest.raises(MissingTargets):
        student.train(train())
    command = train(made_by(teacher, ROUND + 1).blob, round_index=ROUND + 1)
    again = student.train(command)
    assert again.distillation is not None
    assert again.payload == trainer_in(tmp_path, 2, config).train(command).payload


def test_before_its_start_and_at_tier_0_nobody_is_taught(
    teacher: Trainer, student: Trainer
) -> None:
    assert student.train(train(round_index=3)).distillation is None
    assert teacher.train(train()).distillation is None


def test_targets_are_of_the_agreed_parameters_whatever_was_trained_before(
    tmp_path: Path, config: RunConfig, teacher: Trainer
) -> None:
    """Lookahead moves the working copy; a second teacher with the same masters says the same."""
    teacher.train(train())
    blob = made_by(teacher).payload
    assert blob == made_by(trainer_in(tmp_path, 0, config)).payload


def gated_config() -> RunConfig:
    gate = {"enabled": True}
    synergy = {"phase_a_rounds": 2, "ramp_rounds": 4}
    return config_with(distillation={"enabled": False, "suffix_gate": gate, "synergy": synergy})


def test_the_gate_follows_the_round_in_training_evaluation_and_checkpoints(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, 0, gated_config())
    for round_index in range(7):
        trained = trainer.train(Train(0, round_index, 4 * round_index, 4 * round_index + 4, BITS))
        trainer.apply(Apply(round_index, (trained.blob,), BITS))
        full, half, *_ = trainer.evaluate(Evaluate(8)).losses
        assert (full == half) == (round_index + 1 <= 2), round_index
        trainer.save(Save(str(tmp_path / "checkpoint")))
        checkpoint = open_checkpoint(tmp_path / "checkpoint")
        assert (checkpoint.suffix_gate is None) == (round_index + 1 >= 6), round_index
        tokens_bt = torch.from_numpy(trainer._shop.samples.heldout_samples(0, 8))
        stored, *_ = evaluate(load_model(plan_load(checkpoint)), [tokens_bt])
        assert stored.loss == pytest.approx(full, rel=1e-6), round_index


def test_a_closed_gate_sends_nothing_of_the_suffix(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, 0, gated_config())
    trained: Trained = trainer.train(Train(0, 0, 0, 4, BITS))
    before = {name: value.clone() for name, value in trainer._shop.optimizer.masters.items()}
    trainer.apply(Apply(0, (trained.blob,), BITS))
    after = trainer._shop.optimizer.masters
    name = "model.layers.0.mlp.gate_proj.weight"
    assert not torch.equal(after[name][:128], before[name][:128])
    assert torch.equal(after[name][128:], before[name][128:])


def test_the_loss_reaches_accumulation_only_when_taught(
    teacher: Trainer, student: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[object] = []

    def noted(*arguments: Any, **options: Any) -> float:
        losses.append(options["batch_loss"])
        return accumulate_gradients(*arguments, **options)

    monkeypatch.setattr(gradient_maker, "accumulate_gradients", noted)
    student.train(train(made_by(teacher).blob))
    student.train(train(round_index=2))
    assert [loss is None for loss in losses] == [False, True]
