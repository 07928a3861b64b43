"""The top-k and tail divergence: against the full one, against finite differences, its sign."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from psyche_p2p.distill.losses import DistilledLoss, LossWeights
from psyche_p2p.distill.targets import TeacherTargets
from psyche_p2p.model import loss as loss_module
from psyche_p2p.model.loss import IGNORED, linear_loss

VOCAB, HIDDEN, SAMPLES, POSITIONS = 29, 12, 3, 7


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def targets_of(logits_btv: Tensor, k: int, temperature: float = 1.0) -> TeacherTargets:
    """What a teacher with these logits sends, by the definition."""
    soft = logits_btv / temperature
    indices = soft.topk(k, dim=2).indices.sort(dim=2).values
    return TeacherTargets(indices, soft.gather(2, indices), soft.logsumexp(dim=2))


def words(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB, (SAMPLES, POSITIONS), generator=generator)


def run(
    logits_btv: Tensor, words_bt: Tensor, targets: TeacherTargets, weights: LossWeights
) -> tuple[Tensor, DistilledLoss]:
    """The loss of these very logits: an output layer that changes nothing."""
    loss = DistilledLoss(words_bt, targets, weights)
    eye = torch.eye(VOCAB, dtype=logits_btv.dtype)
    return linear_loss(logits_btv.flatten(0, 1), eye, loss), loss


def bucketed(logits: Tensor, indices: Tensor) -> Tensor:
    """Probabilities of the tokens and of all others, with nothing clever."""
    p = logits.double().softmax(dim=-1)
    top = p.gather(-1, indices)
    rest = p.scatter(-1, indices, 0.0).sum(dim=-1, keepdim=True)
    return torch.cat([top, rest], dim=-1)


def reference_kl(teacher: Tensor, student: Tensor, indices: Tensor, temperature: float) -> Tensor:
    q, p = (bucketed(logits / temperature, indices) for logits in (teacher, student))
    return temperature**2 * (q * (q / p).log()).sum(dim=-1).mean()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_with_all_of_the_vocabulary_it_is_the_whole_divergence(temperature: float) -> None:
    teacher, student = (3 * draw(seed, SAMPLES, POSITIONS, VOCAB) for seed in (1, 2))
    weights = LossWeights(0.0, 1.0, temperature)
    value, _ = run(student, words(), targets_of(teacher, VOCAB, temperature), weights)
    p, q = ((each / temperature).log_softmax(dim=2).flatten(0, 1) for each in (student, teacher))
    expected = temperature**2 * F.kl_div(p, q, log_target=True, reduction="batchmean")
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("k", [1, 5, VOCAB - 1])
def test_with_some_of_it_the_rest_is_one_bucket(k: int, temperature: float) -> None:
    teacher, student = (3 * draw(seed, SAMPLES, POSITIONS, VOCAB) for seed in (3, 4))
    targets = targets_of(teacher, k, temperature)
    value, loss = run(student, words(), targets, LossWeights(0.7, 1.3, temperature))
    divergence = reference_kl(teacher, student, targets.indices_btk, temperature)
    ce = F.cross_entropy(student.flatten(0, 1), words().flatten())
    assert float(loss.sums.cross_entropy) == pytest.approx(ce.item(), rel=1e-5)
    assert float(loss.sums.divergence) == pytest.approx(divergence.item(), rel=1e-4)
    assert value.item() == pytest.approx(0.7 * ce.item() + 1.3 * divergence.item(), rel=1e-5)
    mass = bucketed(student / temperature, targets.indices_btk)[..., :-1].sum(dim=-1).mean()
    assert float(loss.sums.student_top_mass) == pytest.approx(mass.item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("k", [1, 6, VOCAB])
def test_the_gradient_is_that_of_finite_differences(k: int, temperature: float) -> None:
    teacher = 2 * draw(5, SAMPLES, POSITIONS, VOCAB).double()
    targets = targets_of(teacher, k, temperature)
    hidden = draw(6, SAMPLES * POSITIONS, HIDDEN).double().requires_grad_()
    weight = draw(7, VOCAB, HIDDEN).double().requires_grad_()
    words_bt = words()
    words_bt[0, 1] = IGNORED

    def value(hidden: Tensor, weight: Tensor) -> Tensor:
        loss = DistilledLoss(words_bt, targets, LossWeights(0.4, 0.9, temperature))
        return linear_loss(hidden, weight, loss)

    with mock.patch.object(loss_module, "_POSITIONS_AT_ONCE", 8):
        assert torch.autograd.gradcheck(value, (hidden, weight), eps=1e-6, atol=1e-6)


finite = st.floats(-30, 30, width=32)


@given(st.data())
def test_it_is_never_negative(data: st.DataObject) -> None:
    """Whatever the logits are, and whatever a teacher claims of its probability."""
    rows = st.lists(finite, min_size=VOCAB, max_size=VOCAB)
    teacher, student = (torch.tensor(data.draw(rows)).view(1, 1, VOCAB) for _ in range(2))
    k = data.draw(st.integers(1, VOCAB))
    exact = targets_of(teacher, k)
    off = data.draw(st.floats(-0.125, 0.125, width=32))
    targets = TeacherTargets(exact.indices_btk, exact.logits_btk, exact.logsumexp_bt + off)
    student.requires_grad_()
    value, _ = run(student, words()[:1, :1], targets, LossWeights(0.0, 1.0, 1.0))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() >= 0
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(gradient).all())


@given(st.lists(finite, min_size=VOCAB, max_size=VOCAB), st.integers(1, VOCAB))
def test_a_student_that_agrees_has_nothing_to_learn(logits: list[float], k: int) -> None:
    student = torch.tensor(logits).view(1, 1, VOCAB).requires_grad_()
    value, _ = run(
        student, words()[:1, :1], targets_of(student.detach(), k), LossWeights(0, 1, 1.0)
    )
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(0, abs=1e-4)
    assert gradient.abs().max().item() < 1e-4


def test_positions_without_targets_or_words_do_not_count() -> None:
    teacher, student = (draw(seed, SAMPLES, POSITIONS, VOCAB) for seed in (8, 9))
    kept, words_bt = 3, words()
    words_bt[:, -1] = IGNORED
    last = slice(-kept, -1)
    targets = targets_of(teacher[:, -kept:], 4)
    _, loss = run(student, words_bt, targets, LossWeights(1.0, 1.0, 1.0))
    expected = reference_kl(teacher[:, last], student[:, last], targets.indices_btk[:, :-1], 1.0)
    assert float(loss.sums.divergence) == pytest.approx(expected.item(), rel=1e-5)
    ce = F.cross_entropy(student.flatten(0, 1), words_bt.flatten(), ignore_index=IGNORED)
    assert float(loss.sums.cross_entropy) == pytest.approx(ce.item(), rel=1e-5)


class CountSoftmax(TorchFunctionMode):
    """Counts softmax and logsumexp over a whole vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls += func.__name__ in ("log_softmax", "softmax", "logsumexp")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 1), (2.0, 2)])
def test_no_second_softmax_at_temperature_one(temperature: float, expected: int) -> None:
    logits_nv = draw(1, SAMPLES * POSITIONS, VOCAB)
    targets = targets_of(draw(2, SAMPLES, POSITIONS, VOCAB), 4, temperature)
    loss = DistilledLoss(words(), targets, LossWeights(1.0, 1.0, temperature))
    with CountSoftmax() as counted:
        loss.run(logits_nv, slice(0, 21), wants_gradient=True)
    assert counted.calls == expected


def test_evaluation_makes_no_gradients() -> None:
    teacher, student = (draw(seed, SAMPLES, POSITIONS, VOCAB) for seed in (1, 2))
    targets, weights = targets_of(teacher, 4), LossWeights(1.0, 1.0, 1.0)
    wanted, _ = run(student.clone().requires_grad_(), words(), targets, weights)
    with mock.patch.object(Tensor, "scatter_add_", side_effect=AssertionError), torch.no_grad():
        value, _ = run(student, words(), targets, weights)
    torch.testing.assert_close(value, wanted.detach())
