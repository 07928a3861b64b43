"""A teacher's largest logits in few bytes: which tokens, how much below the largest, what is left.

    low, unary  the gaps between a token's rising indices, as Rice codes (`rice.py`)
    logits      one byte each: sixteenths below the token's largest logit, 255 for all that is lower
    logsumexp   two bytes each: 2048ths above the token's largest logit

A logit is off by at most 1/32, one that is more than 15.94 below the largest (a ten-millionth of
its probability) by more. The logsumexp is chosen after the logits were rounded, such that their
share of the probability stays what it was: rounding moves probability between the tokens that are
sent, not between them and all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.codec.rice import (
    compute_gaps,
    compute_rice_parameter,
    decode_low_bits,
    decode_unary,
    encode_low_bits,
    encode_unary,
    low_bits_bytes,
    require_length,
    restore_values,
)
from psyche_p2p.errors import WireCode, WireError

Buffer = bytes | bytearray | memoryview

LOGIT_STEP = 1 / 16
MAX_LOGIT_ERROR = LOGIT_STEP / 2
LOGSUMEXP_STEP = 1 / 2048
SECTIONS = ("low", "unary", "logits", "logsumexp")
_LOWEST = 255


@dataclass(frozen=True, slots=True)
class TopLogits:
    """For every token the indices of its largest logits, rising, these, and the logsumexp of all.

    Arrays are [tokens, k], [tokens, k] and [tokens].
    """

    indices: NDArray[np.int64]
    logits: NDArray[np.float32]
    logsumexp: NDArray[np.float32]


def max_top_logits_bytes(tokens: int, top_k: int, vocab_size: int) -> dict[str, int]:
    """The largest size of each section; check it before reading any."""
    parameter, entries = compute_rice_parameter(vocab_size, top_k), tokens * top_k
    return {
        "low": low_bits_bytes(entries, parameter),
        "unary": (entries + tokens * (vocab_size >> parameter) + 7) // 8,
        "logits": entries,
        "logsumexp": 2 * tokens,
    }


def index_bound_bits(top_k: int, vocab_size: int) -> float:
    """What no code can beat for one token's indices, if they are spread evenly."""
    return math.log2(math.comb(vocab_size, top_k))


def encode_top_logits(top: TopLogits, vocab_size: int) -> dict[str, bytes]:
    """The sections, by name and in order."""
    tokens, top_k = top.indices.shape
    parameter = compute_rice_parameter(vocab_size, top_k)
    gaps = compute_gaps(top.indices.reshape(-1), np.full(tokens, top_k))
    largest = top.logits.max(axis=1, keepdims=True)
    steps = np.rint((largest - top.logits).astype(np.float64) / LOGIT_STEP)
    codes = np.minimum(steps, _LOWEST).astype(np.uint8)
    return {
        "low": encode_low_bits(gaps, parameter),
        "unary": encode_unary(gaps >> parameter),
        "logits": codes.tobytes(),
        "logsumexp": _encode_logsumexp(top, codes).astype("<u2").tobytes(),
    }


def decode_top_logits(
    sections: Mapping[str, Buffer], tokens: int, top_k: int, vocab_size: int
) -> TopLogits:
    """The inverse; WireError for anything `encode_top_logits` cannot write."""
    views = _require_sections(sections, tokens, top_k, vocab_size)
    entries, parameter = tokens * top_k, compute_rice_parameter(vocab_size, top_k)
    require_length("logits", views["logits"], entries)
    require_length("logsumexp", views["logsumexp"], 2 * tokens)
    high = decode_unary(views["unary"], entries)
    gaps = (high << parameter) | decode_low_bits(views["low"], entries, parameter)
    indices = restore_values(gaps, np.full(tokens, top_k)).reshape(tokens, top_k)
    if int(indices.max()) >= vocab_size:
        cause = f"index {indices.max()}, the vocabulary has {vocab_size}"
        raise WireError(WireCode.OUT_OF_RANGE, cause)
    codes = np.frombuffer(views["logits"], np.uint8).reshape(tokens, top_k)
    if codes.min(axis=1).any():
        cause = "logits that are not relative to their token's largest"
        raise WireError(WireCode.NOT_CANONICAL, cause)
    sums = np.frombuffer(views["logsumexp"], "<u2").astype(np.float64) * LOGSUMEXP_STEP
    return TopLogits(indices, -(codes * np.float32(LOGIT_STEP)), np.asarray(sums, dtype=np.float32))


def _encode_logsumexp(top: TopLogits, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What leaves the logits sent their share of the probability, though they were rounded."""
    relative = top.logits.astype(np.float64) - top.logsumexp.astype(np.float64)[:, None]
    mass = np.exp(relative).sum(axis=1)
    rounded = np.exp(codes * -LOGIT_STEP).sum(axis=1)
    steps: NDArray[np.int64] = np.rint(np.log(rounded / mass) / LOGSUMEXP_STEP).astype(np.int64)
    return np.minimum(np.maximum(steps, 0), 0xFFFF)


def _require_sections(
    sections: Mapping[str, Buffer], tokens: int, top_k: int, vocab_size: int
) -> dict[str, memoryview]:
    if tuple(sections) != SECTIONS:
        cause = f"sections {', '.join(sections)} where {', '.join(SECTIONS)} must be"
        raise WireError(WireCode.MALFORMED, cause)
    views = {name: memoryview(data) for name, data in sections.items()}
    for name, largest in max_top_logits_bytes(tokens, top_k, vocab_size).items():
        if len(views[name]) > largest:
            cause = f"section {name} of {len(views[name])} bytes, at most {largest} are possible"
            raise WireError(WireCode.TOO_LARGE, cause)
    return views
