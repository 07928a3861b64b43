"""The chunked loss against torch's own cross-entropy, values and gradients."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import torch.nn.functional as F

from psyche_p2p.model import loss as loss_module
from psyche_p2p.model.loss import IGNORED, linear_cross_entropy


def inputs(
    positions: int, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(positions)
    hidden = torch.randn(positions, 12, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(37, 12, generator=generator).requires_grad_()
    return hidden, weight, torch.randint(37, (positions,), generator=generator)


@pytest.mark.parametrize(
    ("positions", "ignored"), [(1, 0), (7, 0), (7, 1), (8, 0), (9, 8), (30, 1)]
)
def test_value_and_gradients_are_those_of_cross_entropy(positions: int, ignored: int) -> None:
    hidden, weight, targets = inputs(positions)
    targets[:ignored] = IGNORED
    expected = F.cross_entropy(hidden @ weight.T, targets)
    expected_grads = torch.autograd.grad(expected * 3, (hidden, weight))
    with mock.patch.object(loss_module, "_POSITIONS_AT_ONCE", 8):
        value = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(value, expected)
    for grad, wanted in zip(
        torch.autograd.grad(value * 3, (hidden, weight)), expected_grads, strict=True
    ):
        torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-6)


def test_only_ignored_targets_give_zero_and_no_gradient() -> None:
    hidden, weight, targets = inputs(5)
    value = linear_cross_entropy(hidden, weight, torch.full_like(targets, IGNORED))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0.0
    assert hidden.grad is not None
    assert not bool(hidden.grad.any())


def test_evaluation_makes_no_gradients() -> None:
    hidden, weight, targets = inputs(5)
    no_gradients = mock.patch.object(loss_module, "_logits_gradient", side_effect=AssertionError)
    with no_gradients, torch.no_grad():
        value = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(value, F.cross_entropy(hidden @ weight.T, targets))


def test_under_autocast_products_are_bfloat16_and_gradients_float32() -> None:
    hidden, weight, targets = inputs(64)
    expected = F.cross_entropy(hidden @ weight.T, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = linear_cross_entropy(hidden, weight, targets)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-2)
    assert value.item() != expected.item()
    for grad in torch.autograd.grad(value, (hidden, weight)):
        assert grad.dtype == torch.float32
