"""The transformer against Hugging Face's Llama on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import ModelError
from psyche_p2p.model.gradients import accumulate_gradients, compute_loss
from psyche_p2p.model.initial import initial_model, initial_state
from psyche_p2p.model.transformer import Transformer, model_from_state
from tests.model.configs import tiny_config

_SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {},
    "plain heads, untied": {"num_key_value_heads": 4},
    "one key head, tied": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "wide rotary base": {"rope_theta": 500000.0, "rms_norm_eps": 1e-6, "num_layers": 3},
    "squared relu with biases": {
        "architecture": "nanogpt",
        "activation": "relu_squared",
        "bias": True,
        "max_tier": 0,
    },
    "head width 2": {"hidden_size": 24, "num_attention_heads": 12, "num_key_value_heads": 3},
}


def random_tokens(config: ModelConfig, samples: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (samples, length), generator=generator)


def reference_llama(model: Transformer) -> Any:
    """transformers' Llama with this model's weights."""
    transformers = pytest.importorskip("transformers")
    config = model.config
    reference = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            max_position_embeddings=config.max_seq_len,
            rope_theta=config.rope_theta,
            rms_norm_eps=config.rms_norm_eps,
            tie_word_embeddings=config.tie_word_embeddings,
            hidden_act={"silu": "silu", "relu_squared": "relu2"}[config.activation],
            attention_bias=config.bias,
            mlp_bias=config.bias,
        )
    )
    missing, unexpected = reference.load_state_dict(model.state_dict(), strict=False)
    assert unexpected == []
    assert set(missing) <= {"lm_head.weight"}
    reference.tie_weights()
    return reference.eval()


def shaken_model(config: ModelConfig, seed: int) -> Transformer:
    """A model whose norms and biases are random too, so that an unused one is noticed."""
    state = initial_state(config, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in state.items():
        state[name] = tensor + 0.05 * torch.randn(tensor.shape, generator=generator)
    return model_from_state(config, state)


@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("seed", [1, 2])
def test_logits_equal_those_of_transformers(shape: str, seed: int) -> None:
    model = shaken_model(tiny_config(**_SHAPES[shape]), seed)
    tokens_bt = random_tokens(model.config, 3, 32, seed)
    with torch.no_grad():
        expected_btv = reference_llama(model)(tokens_bt).logits
        logits_btv = model(tokens_bt)
    assert logits_btv.std() > 0.01
    assert (logits_btv - expected_btv).abs().max() < 1e-5


def test_loss_and_gradients_equal_those_of_transformers() -> None:
    model = shaken_model(tiny_config(), 3)
    reference = reference_llama(model)
    tokens_bt = random_tokens(model.config, 4, 17)
    reference(tokens_bt, labels=tokens_bt).loss.backward()
    compute_loss(model, tokens_bt).backward()  # type: ignore[no-untyped-call]
    expected = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-7)


def test_micro_batches_add_up_to_the_whole_batch() -> None:
    model = initial_model(tiny_config(), 1)
    tokens_bt = random_tokens(model.config, 5, 9)
    whole = accumulate_gradients(model, tokens_bt)
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    assert accumulate_gradients(model, tokens_bt, micro_batch=2) == pytest.approx(whole, rel=1e-6)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-8)


def test_recomputing_activations_changes_nothing() -> None:
    model = initial_model(tiny_config(), 1)
    tokens_bt = random_tokens(model.config, 2, 9)
    accumulate_gradients(model, tokens_bt)
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.recompute_activations = True
    accumulate_gradients(model, tokens_bt)
    assert expected
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, expected[name])


def test_too_many_tokens_are_refused() -> None:
    model = initial_model(tiny_config(), 1)
    with pytest.raises(ModelError, match="33 tokens are more than this model's 32 positions"):
        model(random_tokens(model.config, 1, 33))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.norm.weight"), "'model.norm.weight' is missing"),
        (lambda state: state.update(extra=torch.ones(1)), "'extra' is not part of this model"),
        (
            lambda state: state.update({"model.norm.weight": torch.ones(31)}),
            r"'model.norm.weight' has shape \[31\] instead of \[32\]",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: Any, message: str) -> None:
    state = initial_state(tiny_config(), 1)
    change(state)
    with pytest.raises(ModelError, match=message):
        model_from_state(tiny_config(), state)
