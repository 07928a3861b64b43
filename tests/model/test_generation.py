"""Sampling: what top-k and top-p leave, and that frequencies follow the distribution."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from psyche_p2p.errors import ModelError
from psyche_p2p.model.generation import (
    Sampling,
    choose_token,
    generate,
    keep_top_k,
    keep_top_p,
)
from psyche_p2p.model.initial import initial_model
from tests.model.configs import tiny_config

LOGITS = torch.tensor([0.1, 0.5, 0.05, 0.35]).log()


def kept(logits_v: torch.Tensor) -> list[int]:
    return logits_v.isfinite().nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("top_k", "tokens"),
    [(0, [0, 1, 2, 3]), (1, [1]), (2, [1, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])],
)
def test_top_k_keeps_the_likeliest(top_k: int, tokens: list[int]) -> None:
    assert kept(keep_top_k(LOGITS, top_k)) == tokens


@pytest.mark.parametrize(
    ("top_p", "tokens"),
    [(0.01, [1]), (0.49, [1]), (0.6, [1, 3]), (0.9, [0, 1, 3]), (0.99, [0, 1, 2, 3])],
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p: float, tokens: list[int]) -> None:
    assert kept(keep_top_p(LOGITS, top_p)) == tokens


def test_frequencies_follow_the_distribution() -> None:
    generator = torch.Generator().manual_seed(5)
    sampling = Sampling(temperature=0.5)
    drawn = [choose_token(LOGITS, sampling, generator) for _ in range(4000)]
    expected = (LOGITS / 0.5).softmax(dim=0)
    frequencies = torch.bincount(torch.tensor(drawn), minlength=4) / 4000
    assert (frequencies - expected).abs().max() < 0.03


def test_the_likeliest_token_at_temperature_zero() -> None:
    assert choose_token(LOGITS, Sampling(temperature=0), torch.Generator()) == 1


def test_a_prompt_longer_than_the_model_is_cut_at_its_start() -> None:
    model = initial_model(tiny_config(), 1)
    tokens = [index % 61 for index in range(50)]
    greedy = Sampling(temperature=0)
    long = list(islice(generate(model, tokens, greedy), 3))
    assert long == list(islice(generate(model, tokens[-32:], greedy), 3))


def test_a_text_continues_as_the_logits_say() -> None:
    model = initial_model(tiny_config(), 1)
    with torch.no_grad():
        expected = int(model(torch.tensor([[4, 5, 6]]))[0, -1].argmax())
    assert next(generate(model, [4, 5, 6], Sampling(temperature=0))) == expected


@pytest.mark.parametrize("prompt", [[], [61], [-1]])
def test_a_prompt_the_model_does_not_know_is_refused(prompt: list[int]) -> None:
    with pytest.raises(ModelError):
        next(generate(initial_model(tiny_config(), 1), prompt, Sampling()))
