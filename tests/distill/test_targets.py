"""What a teacher sends: its largest logits, exactly, whatever the portions they are made in."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from psyche_p2p.config import DistillationConfig
from psyche_p2p.distill import targets as targets_module
from psyche_p2p.distill.targets import make_targets
from psyche_p2p.ids import Tier
from psyche_p2p.model.initial import initial_model
from psyche_p2p.model.suffix_gate import SuffixGate
from tests.model.configs import tiny_config

CONFIG = tiny_config()
MODEL = initial_model(CONFIG, seed=3)


def tokens(samples: int = 4, length: int = 17) -> torch.Tensor:
    generator = torch.Generator().manual_seed(samples)
    return torch.randint(CONFIG.vocab_size, (samples, length), generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_targets_are_the_softmax_of_the_largest_logits(temperature: float) -> None:
    settings = DistillationConfig(top_k=6, temperature=temperature)
    with mock.patch.object(targets_module, "_POSITIONS_AT_ONCE", 10):
        targets = make_targets(MODEL, tokens(), settings)
    expected = (MODEL(tokens()[:, :-1]) / temperature).softmax(dim=2)
    assert targets.shape == (4, 16, 6)
    assert bool((targets.indices_btk.diff(dim=2) > 0).all())
    found = (targets.logits_btk - targets.logsumexp_bt.unsqueeze(2)).exp()
    torch.testing.assert_close(found, expected.gather(2, targets.indices_btk))
    torch.testing.assert_close(found.sum(dim=2), expected.topk(6, dim=2).values.sum(dim=2))
    assert targets.logits_btk.max().item() == 0
    assert targets.mean_top_mass() == pytest.approx(found.sum(dim=2).mean().item(), rel=1e-5)


def test_micro_batches_change_nothing() -> None:
    settings = DistillationConfig(top_k=6)
    whole, parts = (make_targets(MODEL, tokens(5), settings, micro_batch=size) for size in (5, 2))
    assert torch.equal(whole.indices_btk, parts.indices_btk)
    torch.testing.assert_close(whole.logits_btk, parts.logits_btk)
    torch.testing.assert_close(whole.logsumexp_bt, parts.logsumexp_bt)


def test_only_the_last_positions_are_kept_and_computed() -> None:
    found, flops = [], []
    for kept in (0, 3):
        with FlopCounterMode(display=False) as counter:
            settings = DistillationConfig(top_k=6, logits_to_keep=kept)
            found.append(make_targets(MODEL, tokens(), settings))
        flops.append(counter.get_total_flops())
    whole, last = found
    assert last.shape == (4, 3, 6)
    assert flops[0] - flops[1] == 4 * 13 * 2 * CONFIG.hidden_size * CONFIG.vocab_size
    assert torch.equal(last.indices_btk, whole.indices_btk[:, -3:])
    torch.testing.assert_close(last.logits_btk, whole.logits_btk[:, -3:])


def test_a_teacher_behind_a_closed_gate_is_the_smaller_tier() -> None:
    model, settings = initial_model(CONFIG, seed=3), DistillationConfig(top_k=6)
    small = make_targets(model, tokens(), settings, model.view_at(Tier(1)))
    model.suffix_gate = SuffixGate(CONFIG.intermediate_size >> 1, 0.0)
    gated = make_targets(model, tokens(), settings)
    assert torch.equal(gated.logits_btk, small.logits_btk)


def test_targets_survive_the_journey_through_arrays() -> None:
    targets = make_targets(MODEL, tokens(), DistillationConfig(top_k=6))
    again = targets.from_arrays(*targets.to_arrays(), torch.device("cpu"))
    assert torch.equal(again.indices_btk, targets.indices_btk)
    assert torch.equal(again.logits_btk, targets.logits_btk)
    assert torch.equal(again.logsumexp_bt, targets.logsumexp_bt)
