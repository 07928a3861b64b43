"""A student's batch: what the teacher's confidence does, and that portions do not matter."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from psyche_p2p.config import DistillationConfig
from psyche_p2p.distill.student import StudentLoss, plan_distillation
from psyche_p2p.distill.targets import TeacherTargets, make_targets
from psyche_p2p.ids import Tier
from psyche_p2p.model.gradients import Precision, accumulate_gradients, compute_loss
from psyche_p2p.model.initial import initial_model
from tests.model.configs import tiny_config

CONFIG = tiny_config(init_std=0.3)  # so that teacher and student are not both uniform
TEACHER = initial_model(CONFIG, seed=1)
TOKENS = torch.randint(CONFIG.vocab_size, (6, 13), generator=torch.Generator().manual_seed(0))


def settings(**changes: Any) -> DistillationConfig:
    return DistillationConfig(**{"enabled": True, "top_k": 5, **changes})


def targets_with_mass(mass: float) -> TeacherTargets:
    """A teacher that gives two tokens half of `mass` each, everywhere."""
    logits = torch.zeros(6, 12, 2)
    total = -torch.log(torch.tensor(mass / 2)).expand(6, 12)
    return TeacherTargets(torch.tensor([3, 7]).expand(6, 12, 2), logits, total)


def gradients(micro_batch: int, **changes: Any) -> tuple[float, dict[str, torch.Tensor], Any]:
    student = initial_model(CONFIG, seed=2, held_tier=Tier(1))
    config = settings(**changes)
    targets = make_targets(TEACHER, TOKENS, config)
    loss = StudentLoss(plan_distillation(config, 0.5, targets), targets)
    value = accumulate_gradients(student, TOKENS, micro_batch=micro_batch, batch_loss=loss)
    found = {name: value.grad for name, value in student.named_parameters()}
    return value, {name: grad for name, grad in found.items() if grad is not None}, loss


@pytest.mark.parametrize("combine", ["add", "mix"])
def test_micro_batches_change_neither_gradients_nor_statistics(combine: str) -> None:
    whole, expected, one = gradients(6, combine=combine, logits_to_keep=5)
    value, found, parts = gradients(4, combine=combine, logits_to_keep=5)
    assert value == pytest.approx(whole, rel=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)
    for field in fields(one.statistics()):
        left, right = (getattr(loss.statistics(), field.name) for loss in (one, parts))
        assert left == pytest.approx(right, rel=1e-4), field.name


@pytest.mark.parametrize("combine", ["add", "mix"])
def test_the_loss_is_what_the_statistics_say(combine: str) -> None:
    value, _, loss = gradients(6, combine=combine)
    stats = loss.statistics()
    assert stats.kd_raw > 0
    assert stats.kd == pytest.approx(stats.kd_raw * stats.kd_scale)
    plain = 0.5 if combine == "mix" else 1.0
    assert value == pytest.approx(plain * stats.ce + stats.beta * stats.kd, rel=1e-5)
    student = initial_model(CONFIG, seed=2, held_tier=Tier(1))
    assert stats.ce == pytest.approx(compute_loss(student, TOKENS).item(), rel=1e-5)


@pytest.mark.parametrize(("mass", "scale"), [(1.0, 1.0), (0.5, 2.0), (0.05, 20.0), (0.03, 20.0)])
def test_an_unsure_teacher_is_strengthened_up_to_a_bound(mass: float, scale: float) -> None:
    plan = plan_distillation(settings(), 0.2, targets_with_mass(mass))
    assert plan.q_topk_mass == pytest.approx(mass, rel=1e-5)
    assert plan.kd_scale == pytest.approx(scale, rel=1e-5)
    assert plan.weights.distillation == pytest.approx(0.2 * scale, rel=1e-5)


@pytest.mark.parametrize("combine", ["add", "mix"])
def test_too_little_confidence_turns_kd_off_and_says_so(combine: str) -> None:
    targets = targets_with_mass(0.0199)
    plan = plan_distillation(settings(combine=combine), 0.2, targets)
    assert (plan.beta_requested, plan.beta) == (0.2, 0.0)
    student, plain = (initial_model(CONFIG, seed=2) for _ in range(2))
    loss = StudentLoss(plan, targets)
    value = accumulate_gradients(student, TOKENS, batch_loss=loss)
    assert value == pytest.approx(accumulate_gradients(plain, TOKENS), rel=1e-6)
    for one, other in zip(student.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)
    assert loss.statistics().beta == 0
    assert loss.statistics().kd_raw > 0


def test_there_are_eight_statistics() -> None:
    _, _, loss = gradients(6)
    assert [field.name for field in fields(loss.statistics())] == [
        "ce", "kd_raw", "kd_scale", "kd", "beta_requested", "beta", "q_topk_mass", "p_topk_mass",
    ]  # fmt: skip


def test_in_bfloat16_it_is_nearly_the_same() -> None:
    config, values, gradients_found = settings(), [], []
    for precision in (Precision.FLOAT32, Precision.BFLOAT16):
        student = initial_model(CONFIG, seed=2)
        targets = make_targets(TEACHER, TOKENS, config, precision=precision)
        loss = StudentLoss(plan_distillation(config, 0.5, targets), targets)
        values.append(accumulate_gradients(student, TOKENS, precision=precision, batch_loss=loss))
        gradients_found.append(torch.cat([p.grad.flatten() for p in _trained(student)]))
    assert values[1] == pytest.approx(values[0], rel=0.03)
    assert values[1] != values[0]
    exact, rounded = gradients_found
    assert float(torch.cosine_similarity(exact, rounded, dim=0)) > 0.98


def _trained(model: torch.nn.Module) -> list[Any]:
    return [parameter for parameter in model.parameters() if parameter.grad is not None]


def test_padding_is_neither_predicted_nor_taught() -> None:
    student, config = initial_model(CONFIG, seed=2, held_tier=Tier(1)), settings()
    losses = []
    for tokens in (TOKENS, torch.nn.functional.pad(TOKENS, (0, 4), value=~0)):
        targets = make_targets(TEACHER, tokens, config)
        loss = StudentLoss(plan_distillation(config, 0.5, targets_with_mass(1.0)), targets)
        value = accumulate_gradients(student, tokens, batch_loss=loss)
        losses.append((value, loss.statistics().ce, loss.statistics().kd_raw))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
