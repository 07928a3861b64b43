"""Helper mode: which units take part, what it computes, and where it is switched off."""

from __future__ import annotations

import logging

import pytest
import torch

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.gradients import accumulate_gradients
from psyche_p2p.model.helper import HelperMode, SampledSuffixView, allowed_fraction
from psyche_p2p.model.initial import initial_model
from tests.model.configs import tiny_config
from tests.model.test_tiers import GATE
from tests.model.test_transformer import random_tokens


def test_only_sampled_units_behind_the_prefix_learn() -> None:
    model = initial_model(tiny_config(), 1)
    view = SampledSuffixView(HelperMode(0.25, 32), seed=9)
    units = view.sampled_units(64, layer=0)
    assert len(units) == len(set(units.tolist())) == 8
    assert int(units.min()) >= 32
    assert int(units.max()) < 64
    accumulate_gradients(model, random_tokens(model.config, 2, 16), view)
    grad = model.get_parameter(GATE).grad
    assert grad is not None
    learning = set(grad.abs().sum(dim=1).nonzero().flatten().tolist())
    assert learning == set(range(32)) | set(units.tolist())


def test_samples_differ_by_round_and_layer_and_repeat_with_their_seed() -> None:
    draws = [
        tuple(SampledSuffixView(HelperMode(0.5, 32), seed).sampled_units(64, layer).tolist())
        for seed, layer in ((1, 0), (1, 1), (2, 0), (1, 0))
    ]
    assert draws[0] == draws[3]
    assert len(set(draws)) == 3


def test_all_of_the_suffix_is_the_full_model_and_none_of_it_the_prefix() -> None:
    model = initial_model(tiny_config(), 1)
    tokens_bt = random_tokens(model.config, 2, 16)
    with torch.no_grad():
        whole = model(tokens_bt, SampledSuffixView(HelperMode(1.0, 32), 0))
        torch.testing.assert_close(whole, model(tokens_bt), rtol=1e-4, atol=1e-6)
        prefix = model(tokens_bt, SampledSuffixView(HelperMode(0.0, 32), 0))
        assert torch.equal(prefix, model(tokens_bt, model.view_at(Tier(1))))


def test_samples_are_right_on_average() -> None:
    ffn = initial_model(tiny_config(), 1).model.layers[0].get_submodule("mlp")
    x_btd = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        draws = [
            SampledSuffixView(HelperMode(0.25, 32), seed).run(ffn, x_btd, 0)  # type: ignore[arg-type]
            for seed in range(2000)
        ]
        mean = torch.stack(draws).mean(dim=0)
        expected = ffn(x_btd)
    error = (mean - expected).norm() / expected.norm()
    assert error < 0.05


@pytest.mark.parametrize(("tier", "held_tier"), [(1, 0), (1, 1), (2, 1)])
def test_it_is_switched_off_with_a_warning(
    tier: int, held_tier: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="psyche_p2p.model.helper"):
        assert allowed_fraction(0.5, Tier(tier), Tier(held_tier)) == 0.0
    assert "helper mode switched off" in caplog.text


def test_it_is_allowed_at_tier_0_of_a_universal_checkpoint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert allowed_fraction(0.5, Tier(0), Tier(0)) == 0.5
    assert allowed_fraction(0.0, Tier(1), Tier(1)) == 0.0
    assert caplog.text == ""


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_that_means_nothing_is_refused(fraction: float) -> None:
    with pytest.raises(ModelError, match="helper fraction"):
        HelperMode(fraction, 32)
