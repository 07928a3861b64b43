"""The rules between the keys of `[data]`: what each provider needs, and what it has no use for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from psyche_p2p.config.data_schema import DataConfig, DataPartConfig
from psyche_p2p.config.problems import Problem
from psyche_p2p.config.schema import ModelConfig

_NEEDS = {"tokens": "files", "parquet": "files", "http": "mirrors", "mixture": "parts"}


def find_data_contradictions(data: DataConfig, model: ModelConfig) -> Iterator[Problem]:
    """What is wrong with the run's data, part by part."""
    if data.sequence_length > model.max_seq_len:
        yield Problem(
            "data.sequence_length",
            data.sequence_length,
            f"must be at most model.max_seq_len ({model.max_seq_len})",
        )
    yield from _list_keys("data", data, ("files", "mirrors", "parts"))
    yield from _tokens("data", data, model)
    for number, part in enumerate(data.parts):
        prefix = f"data.parts.{number}"
        yield from _list_keys(prefix, part, ("files", "mirrors"))
        yield from _tokens(prefix, part, model)
    counts = Counter(part.name for part in data.parts)
    for name in sorted(name for name, count in counts.items() if count > 1):
        yield Problem("data.parts", name, "must not name two parts the same")


def _list_keys(
    prefix: str, place: DataConfig | DataPartConfig, keys: tuple[str, ...]
) -> Iterator[Problem]:
    """The one list that the provider reads must have something in it, the others nothing."""
    needed = _NEEDS.get(place.provider)
    for key in keys:
        value: tuple[Any, ...] = getattr(place, key)
        if key == needed and not value:
            allowed = f"must name at least one for data.provider = {place.provider}"
            yield Problem(f"{prefix}.{key}", [], allowed)
        if key != needed and value:
            shown = [] if key == "parts" else list(value)
            allowed = f"must be empty for data.provider = {place.provider}"
            yield Problem(f"{prefix}.{key}", shown, allowed)


def _tokens(
    prefix: str, place: DataConfig | DataPartConfig, model: ModelConfig
) -> Iterator[Problem]:
    """The model must have a row for every token there may be."""
    vocab_size = model.vocab_size
    if place.provider == "builtin":
        if place.source != "stdlib":
            yield Problem(f"{prefix}.source", place.source, "must be stdlib")
        if vocab_size < 256:
            allowed = "must be at least 256: one token a byte"
            yield Problem("model.vocab_size", vocab_size, allowed)
    if place.provider in ("tokens", "http") and place.token_bytes == 2 and vocab_size > 1 << 16:
        yield Problem(f"{prefix}.token_bytes", 2, f"must be 4 for model.vocab_size = {vocab_size}")
