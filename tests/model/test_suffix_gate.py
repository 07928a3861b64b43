"""The suffix gate: the prefix alone when closed, without any suffix work; everything when open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.checkpoint_writer import WriteOptions, write_checkpoint
from psyche_p2p.model.evaluation import evaluate
from psyche_p2p.model.gradients import accumulate_gradients
from psyche_p2p.model.initial import initial_model
from psyche_p2p.model.load import load_model, plan_load
from psyche_p2p.model.suffix_gate import SuffixGate, fold_gate
from psyche_p2p.model.tiers import matformer_prefix_dim
from psyche_p2p.model.transformer import Transformer, model_from_state
from tests.model.configs import tiny_config

CONFIG = tiny_config()
HALF = CONFIG.intermediate_size >> 1
TOKENS = torch.randint(CONFIG.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))


def model_with(openness: float | None, prefix_width: int = HALF) -> Transformer:
    model = initial_model(CONFIG, seed=0)
    if openness is not None:
        model.suffix_gate = SuffixGate(prefix_width, openness)
    return model


def logits(model: Transformer, tier: int = 0) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(TOKENS, model.view_at(Tier(tier)))
    return found


def flops(model: Transformer, tier: int) -> int:
    with FlopCounterMode(display=False) as counter:
        logits(model, tier)
    return int(counter.get_total_flops())


def test_closed_it_is_the_smaller_tier_to_the_bit() -> None:
    assert torch.equal(logits(model_with(0.0)), logits(model_with(None), tier=1))


def test_open_it_is_the_ungated_model_to_the_bit() -> None:
    assert torch.equal(logits(model_with(1.0)), logits(model_with(None)))


def test_nothing_of_the_suffix_is_computed_while_it_is_closed() -> None:
    small, full = (flops(model_with(None), tier) for tier in (1, 0))
    assert small < full
    assert flops(model_with(0.0), 0) == small
    assert flops(model_with(1.0), 0) == full
    assert flops(model_with(0.5), 0) == full


def test_a_closed_gate_leaves_exact_zeros_in_the_suffixs_gradients() -> None:
    model = model_with(0.0)
    accumulate_gradients(model, TOKENS)
    for name, parameter in model.named_parameters():
        dimension = matformer_prefix_dim(name)
        assert parameter.grad is not None
        if dimension is not None:
            prefix, suffix = parameter.grad.chunk(2, dim=dimension)
            assert bool(prefix.any())
            assert not bool(suffix.any())


@pytest.mark.parametrize("openness", [0.25, 0.75])
def test_half_open_it_adds_that_much_of_the_suffix(openness: float) -> None:
    """One layer's output is linear in the gate; compared with a scaled down_proj."""
    scaled = model_with(None)
    with torch.no_grad():
        for name, parameter in scaled.named_parameters():
            if name.endswith("down_proj.weight"):
                parameter[:, HALF:] *= openness
    torch.testing.assert_close(logits(model_with(openness)), logits(scaled), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("openness", [0.0, 0.5])
def test_tiers_that_the_prefix_covers_are_not_touched(openness: float) -> None:
    gated, plain = model_with(openness), model_with(None)
    for tier in (1, 2):
        assert torch.equal(logits(gated, tier), logits(plain, tier))
    gated = model_with(openness, prefix_width=HALF // 2)
    assert not torch.equal(logits(gated, 1), logits(plain, 1))


def test_evaluation_goes_through_the_same_gate() -> None:
    full, small, *_ = evaluate(model_with(0.0), [TOKENS])
    assert full.loss == small.loss
    assert evaluate(model_with(0.5), [TOKENS])[0].loss != small.loss


@pytest.mark.parametrize("openness", [-0.1, 1.1, float("nan")])
def test_a_gate_that_means_nothing_is_refused(openness: float) -> None:
    with pytest.raises(ModelError, match="suffix gate"):
        SuffixGate(HALF, openness)


@pytest.mark.parametrize("openness", [0.0, 0.5])
def test_a_checkpoint_keeps_the_gate_of_its_round(tmp_path: Path, openness: float) -> None:
    model = model_with(openness)
    options = WriteOptions(suffix_gate=model.suffix_gate)
    write_checkpoint(tmp_path / "c", CONFIG, model.state_dict(), options=options)
    again = load_model(plan_load(open_checkpoint(tmp_path / "c")))
    assert again.suffix_gate == model.suffix_gate
    assert torch.equal(logits(again), logits(model))
    folded = model_from_state(CONFIG, fold_gate(model.state_dict(), model.suffix_gate))
    torch.testing.assert_close(logits(folded), logits(model), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "gate",
    [
        3,
        {},
        {"prefix_width": 32},
        {"prefix_width": 32, "openness": 2},
        {"prefix_width": "32", "openness": 0.5},
        {"prefix_width": -1, "openness": 0.5},
    ],
    ids=str,
)
def test_a_checkpoint_with_a_gate_that_means_nothing_is_refused(
    tmp_path: Path, gate: object
) -> None:
    write_checkpoint(tmp_path / "c", CONFIG, model_with(None).state_dict())
    (tmp_path / "c" / "psyche.json").unlink()
    path = tmp_path / "c" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "matformer_suffix_gate": gate}))
    with pytest.raises(ModelError, match="gate"):
        open_checkpoint(tmp_path / "c")
