"""Tiers: exact zeros behind the prefix, aligned gradients, and slices that compute the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.feed_forward import PrefixView
from psyche_p2p.model.gradients import accumulate_gradients
from psyche_p2p.model.initial import initial_model
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.model.tiers import (
    UnsupportedParameter,
    align_matformer_prefix_grad,
    matformer_prefix_dim,
    slice_state,
    tier_width,
)
from psyche_p2p.model.transformer import Transformer, model_from_state
from tests.model.configs import tiny_config
from tests.model.test_transformer import gradients, random_tokens, shaken_model

GATE = "model.layers.0.mlp.gate_proj.weight"
UP = "model.layers.0.mlp.up_proj.weight"
DOWN = "model.layers.0.mlp.down_proj.weight"


def sliced_from(model: Transformer, tier: Tier) -> Transformer:
    state = slice_state(model.state_dict(), tier_width(model.config, tier))
    return model_from_state(model.config, state, tier)


@pytest.mark.parametrize("tier", [1, 2])
def test_matformer_mlp_has_zero_tail_grads(tier: int) -> None:
    model = initial_model(tiny_config(), 5)
    accumulate_gradients(model, random_tokens(model.config, 3, 16), model.view_at(Tier(tier)))
    width = 64 >> tier
    tiered = 0
    for name, grad in gradients(model).items():
        dimension = matformer_prefix_dim(name)
        if dimension is None:
            assert grad.abs().sum() > 0, name
            continue
        tiered += 1
        tail = grad.narrow(dimension, width, 64 - width)
        assert torch.equal(tail, torch.zeros_like(tail)), name
        # every unit of the prefix learns something: nothing was cut too short
        units = grad.narrow(dimension, 0, width).abs().sum(dim=1 - dimension)
        assert bool((units > 0).all()), name
    assert tiered == 3 * model.config.num_layers


@pytest.mark.parametrize("tier", [1, 2])
def test_the_suffix_does_not_leak_into_a_smaller_tier(tier: int) -> None:
    model = initial_model(tiny_config(), 5)
    tokens_bt = random_tokens(model.config, 2, 16)
    view = model.view_at(Tier(tier))
    with torch.no_grad():
        expected = model(tokens_bt, view)
        for name, parameter in model.named_parameters():
            dimension = matformer_prefix_dim(name)
            if dimension is not None:
                parameter.narrow(dimension, view.width, 64 - view.width).fill_(float("nan"))
        assert torch.equal(model(tokens_bt, view), expected)
        assert bool(model(tokens_bt).isnan().any())


def test_align_matformer_prefix_grad_expand_gate() -> None:
    grad = torch.randn(512, 256)
    aligned = align_matformer_prefix_grad(GATE, grad, (1024, 256))
    assert aligned.shape == (1024, 256)
    assert torch.equal(aligned[:512], grad)
    assert torch.equal(aligned[512:], torch.zeros(512, 256))


def test_align_matformer_prefix_grad_slice_down() -> None:
    grad = torch.randn(256, 1024)
    aligned = align_matformer_prefix_grad(DOWN, grad, (256, 512))
    assert aligned.shape == (256, 512)
    assert torch.equal(aligned, grad[:, :512])


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.norm.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.mlp.gate_proj.bias",
        "model.layers.0.mlp.other_proj.weight",
        "gate_proj.weight",
    ],
)
def test_align_matformer_prefix_grad_rejects_non_mlp(name: str) -> None:
    with pytest.raises(UnsupportedParameter, match="has no tiers"):
        align_matformer_prefix_grad(name, torch.zeros(4, 4), (8, 4))


@given(data=st.data(), name=st.sampled_from([GATE, UP, DOWN]))
def test_aligning_up_and_down_again_changes_nothing(data: st.DataObject, name: str) -> None:
    small, large, other = (data.draw(st.integers(1, 9)) for _ in range(3))
    small, large = sorted((small, large))
    dimension = matformer_prefix_dim(name)
    shapes = [(width, other) if dimension == 0 else (other, width) for width in (small, large)]
    grad = torch.randn(shapes[0])
    wide = align_matformer_prefix_grad(name, grad, shapes[1])
    assert torch.equal(align_matformer_prefix_grad(name, wide, shapes[0]), grad)
    assert torch.equal(wide.sum(), align_matformer_prefix_grad(name, wide, shapes[1]).sum())


@pytest.mark.parametrize("shape", [(512, 255), (512,), (512, 256, 1)])
def test_a_gradient_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="which no tier of"):
        align_matformer_prefix_grad(GATE, torch.zeros(shape), (1024, 256))


def test_prefix_dimensions() -> None:
    assert [matformer_prefix_dim(name) for name in (GATE, UP, DOWN)] == [0, 0, 1]
    others = [name for name in parameter_shapes(tiny_config()) if ".mlp." not in name]
    assert len(others) == 15
    assert {matformer_prefix_dim(name) for name in others} == {None}


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_a_sliced_model_computes_what_the_full_one_does_at_its_tier(tier: int) -> None:
    full = shaken_model(tiny_config(intermediate_size=256), 7)
    sliced = sliced_from(full, Tier(tier))
    tokens_bt = random_tokens(full.config, 4, 32)
    view = full.view_at(Tier(tier))
    with torch.no_grad():
        expected = full(tokens_bt, view)
        torch.testing.assert_close(sliced(tokens_bt), expected, rtol=1e-6, atol=1e-6)
    accumulate_gradients(full, tokens_bt, view)
    accumulate_gradients(sliced, tokens_bt)
    of_sliced = gradients(sliced)
    for name, grad in gradients(full).items():
        dimension = matformer_prefix_dim(name)
        prefix = grad if dimension is None else grad.narrow(dimension, 0, view.width)
        scale = prefix.abs().max().item()
        torch.testing.assert_close(of_sliced[name], prefix, rtol=1e-6, atol=1e-6 * scale)


def test_a_slice_runs_at_smaller_tiers_too_and_at_no_larger_one() -> None:
    full = initial_model(tiny_config(), 7)
    sliced = sliced_from(full, Tier(1))
    tokens_bt = random_tokens(full.config, 1, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            sliced(tokens_bt, sliced.view_at(Tier(2))),
            full(tokens_bt, full.view_at(Tier(2))),
            rtol=1e-6,
            atol=1e-6,
        )
    with pytest.raises(ModelError, match="holds only tier 1 and cannot run at tier 0"):
        sliced.view_at(Tier(0))


@pytest.mark.parametrize("tier", [-1, 3])
def test_a_tier_the_model_does_not_have_is_refused(tier: int) -> None:
    with pytest.raises(ModelError, match="is not one of this model's tiers"):
        tier_width(tiny_config(), Tier(tier))


def test_biases_and_tiers_are_refused_together() -> None:
    config = tiny_config(architecture="nanogpt", bias=True)
    with pytest.raises(ModelError, match="a model with biases has no tiers"):
        tier_width(config, Tier(1))
    model = initial_model(config, 1)
    with pytest.raises(ModelError, match="a network with biases has no tiers"):
        model(random_tokens(config, 1, 4), PrefixView(32))


def test_a_slice_keeps_none_of_the_full_models_memory() -> None:
    state = initial_model(tiny_config(), 1).state_dict()
    for name, tensor in slice_state(state, 32).items():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4
        assert tensor.untyped_storage().data_ptr() != state[name].untyped_storage().data_ptr()
