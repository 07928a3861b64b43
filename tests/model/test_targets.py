"""Tokens that are read but not predicted: no loss, no gradient, and the mean is over the rest."""

from __future__ import annotations

import pytest
import torch

from psyche_p2p.model.gradients import accumulate_gradients, compute_loss
from psyche_p2p.model.initial import initial_model
from psyche_p2p.model.loss import IGNORED
from psyche_p2p.model.targets import count_predicted, split_tokens
from psyche_p2p.model.transformer import Transformer
from tests.model.configs import tiny_config

TINY = tiny_config()


@pytest.fixture
def model() -> Transformer:
    return initial_model(TINY, 5)


def tokens(rows: int = 6, length: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, TINY.vocab_size, (rows, length), generator=generator)


def gradients(model: Transformer) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_a_marked_token_is_an_input_and_no_target() -> None:
    inputs, targets = split_tokens(torch.tensor([[5, ~7, 9, ~0]]))
    assert inputs.tolist() == [[5, 7, 9]]
    assert targets.tolist() == [[IGNORED, 9, IGNORED]]
    assert count_predicted(torch.tensor([[5, ~7, 9, ~0]])) == 1
    assert count_predicted(torch.tensor([[~0, ~0]])) == 1


def test_the_loss_is_that_of_the_predicted_tokens(model: Transformer) -> None:
    plain = tokens(rows=1)
    masked = plain.clone()
    masked[:, :6] = ~masked[:, :6]
    logits = model.hidden(plain[:, :-1]) @ model.output_weight.T
    expected = torch.nn.functional.cross_entropy(logits[0, 5:], plain[0, 6:])
    torch.testing.assert_close(compute_loss(model, masked), expected)


def test_the_size_of_a_portion_does_not_change_the_mean(model: Transformer) -> None:
    batch = tokens()
    batch[0, 1:] = ~batch[0, 1:]  # nothing to predict at all
    batch[1, 3:] = ~batch[1, 3:]
    batch[4, :8] = ~batch[4, :8]
    whole = accumulate_gradients(model, batch)
    expected = gradients(model)
    for size in (1, 2, 5):
        assert accumulate_gradients(model, batch, micro_batch=size) == pytest.approx(whole)
        for name, gradient in gradients(model).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing(model: Transformer) -> None:
    short = tokens(rows=3, length=6)
    padded = torch.nn.functional.pad(short, (0, 3), value=~0)
    torch.testing.assert_close(compute_loss(model, padded), compute_loss(model, short))
