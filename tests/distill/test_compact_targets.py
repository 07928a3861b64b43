"""What the compact form costs: bytes against the plain form, and the loss it leads to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from psyche_p2p.blobs import (
    SealedBlob,
    read_layout,
    read_teacher_targets,
    seal_compact_targets,
    seal_teacher_targets,
    validate_blob,
)
from psyche_p2p.distill.losses import DistilledLoss, LossWeights
from psyche_p2p.distill.targets import TeacherTargets
from psyche_p2p.ids import BatchInterval
from psyche_p2p.model.loss import linear_loss
from tests.blobs.builders import ORIGIN, expect

VOCAB, K, SAMPLES, POSITIONS = 32_000, 64, 4, 64


def teacher_and_student(agreement: float) -> tuple[Tensor, Tensor]:
    """Logits over 32,000 words as models have them: some words likelier everywhere, peaks here."""
    generator = torch.Generator().manual_seed(0)
    common = -1.2 * torch.arange(1, VOCAB + 1).log()[torch.randperm(VOCAB, generator=generator)]
    here, other = (
        1.5 * torch.randn(SAMPLES, POSITIONS, VOCAB, generator=generator) for _ in range(2)
    )
    return common + here, common + agreement * here + (1 - agreement) * other


def seal(targets: TeacherTargets, form: str) -> SealedBlob:
    origin = replace(ORIGIN, batch=BatchInterval(0, SAMPLES))
    indices, logits, logsumexp = targets.to_arrays()
    tokens = SAMPLES * POSITIONS
    if form == "compact":
        return seal_compact_targets(
            origin, indices, logits, logsumexp, vocab_size=VOCAB, tokens=tokens, loss=0.0
        )
    plain = (indices.astype(np.uint16), logits.astype(np.float16), logsumexp)
    return seal_teacher_targets(origin, *plain, tokens=tokens, loss=0.0)


def received(sealed: SealedBlob) -> TeacherTargets:
    assert validate_blob(sealed.to_bytes(), replace(expect(sealed), vocab_size=VOCAB)) == []
    top = read_teacher_targets(read_layout(sealed.to_bytes()))
    return TeacherTargets.from_arrays(top.indices, top.logits, top.logsumexp, torch.device("cpu"))


def kd(student: Tensor, targets: TeacherTargets) -> tuple[float, Tensor]:
    """The loss and its gradient in the student's logits, by an output layer of one position."""
    words = torch.zeros(SAMPLES, POSITIONS, dtype=torch.int64)
    loss = DistilledLoss(words, targets, LossWeights(0.0, 1.0, 1.0))
    logits_nv = student.flatten(0, 1)
    losses, gradient = loss.run(logits_nv, slice(0, len(logits_nv)), wants_gradient=True)
    assert gradient is not None
    return float(losses.mean()), gradient


@pytest.mark.parametrize("agreement", [0.0, 0.5, 0.8])
def test_it_is_small_and_leads_to_the_same_loss(agreement: float) -> None:
    teacher, student = teacher_and_student(agreement)
    top = teacher.topk(K, dim=2)
    largest = top.values[..., :1]
    order = top.indices.argsort(dim=2)
    targets = TeacherTargets(
        top.indices.gather(2, order),
        (top.values - largest).gather(2, order),
        (teacher - largest).logsumexp(dim=2),
    )
    plain, compact = (seal(targets, form) for form in ("plain", "compact"))
    sizes = [len(sealed.to_bytes()) for sealed in (compact, plain)]
    assert sizes[0] <= 0.6 * sizes[1]
    (exact, gradient), (loss, found) = (kd(student, received(each)) for each in (plain, compact))
    assert loss == pytest.approx(exact, rel=0.01)
    assert float((found - gradient).norm() / gradient.norm()) < 0.05
    assert received(compact).mean_top_mass() == pytest.approx(targets.mean_top_mass(), rel=1e-3)


def test_the_loss_is_a_linear_loss_too() -> None:
    """What `kd` above computes is what `linear_loss` weighs."""
    student = torch.randn(SAMPLES, POSITIONS, 50, generator=torch.Generator().manual_seed(1))
    top = student.topk(4, dim=2)
    targets = TeacherTargets(top.indices, top.values * 0.5, student.logsumexp(dim=2))
    words = torch.zeros(SAMPLES, POSITIONS, dtype=torch.int64)
    loss = DistilledLoss(words, targets, LossWeights(0.0, 1.0, 1.0))
    value = linear_loss(student.flatten(0, 1), torch.eye(50), loss)
    assert value.item() == pytest.approx(kd(student, targets)[0], rel=1e-5)
