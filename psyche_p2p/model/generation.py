"""Continuing a text: sampling with temperature, top-k and top-p from a seeded generator.

Shape suffix: v vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from psyche_p2p.errors import ModelError
from psyche_p2p.model.feed_forward import FfnView
from psyche_p2p.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the likeliest; top_k 0 and top_p 1 are off.

    Top-p keeps the fewest likeliest tokens whose probabilities reach it (arXiv 1904.09751).
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.temperature <= 100 and self.top_k >= 0 and 0 < self.top_p <= 1):
            raise ModelError(
                f"cannot sample with temperature {self.temperature}, top-k {self.top_k}, "
                f"top-p {self.top_p}",
                "use a temperature from 0 to 100, top-k from 0, top-p above 0 and at most 1",
            )


def generate(
    model: Transformer,
    prompt: Sequence[int],
    sampling: Sampling,
    view: FfnView | None = None,
) -> Iterator[int]:
    """Token after token, without end. The model sees the last `max_seq_len` of them."""
    require_tokens(model, prompt)
    generator = torch.Generator().manual_seed(sampling.seed)
    tokens = list(prompt)
    while True:
        context_bt = torch.tensor([tokens[-model.config.max_seq_len :]])
        with torch.no_grad():
            hidden_btd = model.hidden(context_bt, view)
            logits_v = hidden_btd[0, -1] @ model.output_weight.T
        tokens.append(choose_token(logits_v, sampling, generator))
        yield tokens[-1]


def require_tokens(model: Transformer, prompt: Sequence[int]) -> None:
    """ModelError unless there is a prompt and the model knows all of it."""
    if not prompt:
        raise ModelError("the prompt is empty", "give at least one token to continue")
    for token in prompt:
        if not 0 <= token < model.config.vocab_size:
            raise ModelError(
                f"token {token} is not below this model's vocabulary of {model.config.vocab_size}",
                "use a prompt that fits the model's tokens",
            )


def choose_token(logits_v: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from the distribution that the sampling leaves of the logits."""
    if sampling.temperature == 0:
        return int(logits_v.argmax())
    kept_v = keep_top_p(keep_top_k(logits_v / sampling.temperature, sampling.top_k), sampling.top_p)
    return int(torch.multinomial(kept_v.softmax(dim=0), 1, generator=generator))


def keep_top_k(logits_v: Tensor, top_k: int) -> Tensor:
    """Minus infinity for all but the k largest logits; ties with the k-th stay."""
    if top_k == 0 or top_k >= len(logits_v):
        return logits_v
    smallest = logits_v.topk(top_k).values[-1]
    return logits_v.masked_fill(logits_v < smallest, -torch.inf)


def keep_top_p(logits_v: Tensor, top_p: float) -> Tensor:
    """Minus infinity for all but the fewest likeliest tokens that together reach `top_p`."""
    if top_p >= 1:
        return logits_v
    sorted_v, order_v = logits_v.sort(descending=True)
    before_v = sorted_v.softmax(dim=0).cumsum(dim=0).roll(1)
    before_v[0] = 0.0
    return logits_v.masked_fill((before_v >= top_p)[order_v.argsort()], -torch.inf)
