"""Evaluation: the mean over tokens at every tier."""

from __future__ import annotations

import math

import pytest
import torch

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.evaluation import TierLoss, evaluate
from psyche_p2p.model.gradients import compute_loss
from psyche_p2p.model.initial import initial_model
from tests.model.configs import tiny_config
from tests.model.test_transformer import random_tokens, shaken_model


def test_every_held_tier_is_measured_over_all_tokens() -> None:
    model = shaken_model(tiny_config(), 1)
    tokens_bt = random_tokens(model.config, 5, 17)
    seen: list[int] = []
    losses = evaluate(model, torch.split(tokens_bt, 2), on_batch=lambda: seen.append(1))
    assert len(seen) == 3
    assert [loss.tier for loss in losses] == [0, 1, 2]
    for loss in losses:
        with torch.no_grad():
            whole = compute_loss(model, tokens_bt, model.view_at(loss.tier)).item()
        assert loss.loss == pytest.approx(whole, rel=1e-5)
        assert loss.token_count == 5 * 16
        assert loss.perplexity == pytest.approx(math.exp(whole), rel=1e-4)
    assert len({loss.loss for loss in losses}) == 3


def test_a_slice_is_measured_from_its_tier_on() -> None:
    sliced = initial_model(tiny_config(), 1, Tier(1))
    losses = evaluate(sliced, [random_tokens(sliced.config, 2, 9)])
    assert [loss.tier for loss in losses] == [1, 2]


def test_nothing_to_evaluate_on_is_an_error() -> None:
    with pytest.raises(ModelError, match="nothing to evaluate on"):
        evaluate(initial_model(tiny_config(), 1), [])


def test_an_enormous_loss_has_an_infinite_perplexity() -> None:
    assert TierLoss(Tier(0), 1e6, 1).perplexity == math.inf
