"""A teacher's logits come back as they went in, but for the stated error; nothing else decodes."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.codec import (
    MAX_LOGIT_ERROR,
    TopLogits,
    decode_top_logits,
    encode_top_logits,
    index_bound_bits,
    max_top_logits_bytes,
)
from psyche_p2p.codec.top_logits import LOGSUMEXP_STEP, SECTIONS
from psyche_p2p.errors import WireError

TOKENS = 7


def make_top(seed: int, vocab_size: int, k: int, spread: float = 3.0) -> TopLogits:
    """The largest logits of random tokens."""
    logits = np.random.default_rng(seed).normal(size=(TOKENS, vocab_size)) * spread
    logits -= logits.max(axis=1, keepdims=True)
    indices = np.sort(np.argsort(-logits, axis=1)[:, :k], axis=1)
    return TopLogits(
        indices,
        np.take_along_axis(logits, indices, axis=1).astype(np.float32),
        np.log(np.exp(logits).sum(axis=1)).astype(np.float32),
    )


def masses(top: TopLogits) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    found = np.exp(top.logits.astype(np.float64) - top.logsumexp[:, None]).sum(axis=1)
    return np.asarray(found)


sizes = st.integers(1, 400).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@given(st.integers(0, 2**32), sizes, st.sampled_from([0.0, 0.1, 3.0, 30.0]))
def test_round_trip(seed: int, size: tuple[int, int], spread: float) -> None:
    vocab_size, k = size
    sent = make_top(seed, vocab_size, k, spread)
    sections = encode_top_logits(sent, vocab_size)
    for name, largest in max_top_logits_bytes(TOKENS, k, vocab_size).items():
        assert len(sections[name]) <= largest, name
    found = decode_top_logits(sections, TOKENS, k, vocab_size)
    np.testing.assert_array_equal(found.indices, sent.indices)
    near = sent.logits > -15.9
    assert np.abs(found.logits - sent.logits)[near].max() <= MAX_LOGIT_ERROR + 1e-6
    assert (found.logits[~near] <= -15.8).all()
    np.testing.assert_allclose(masses(found), masses(sent), rtol=LOGSUMEXP_STEP)


@given(st.integers(0, 2**32), sizes, st.data())
def test_any_change_is_refused_or_means_other_targets(
    seed: int, size: tuple[int, int], data: st.DataObject
) -> None:
    """What still decodes encodes to exactly the changed bytes."""
    vocab_size, k = size
    sections = encode_top_logits(make_top(seed, vocab_size, k), vocab_size)
    name = data.draw(st.sampled_from([key for key in sections if sections[key]]))
    changed = bytearray(sections[name])
    begin = data.draw(st.integers(0, len(changed)))
    end = data.draw(st.integers(begin, min(begin + 4, len(changed))))
    changed[begin:end] = data.draw(st.binary(max_size=4))
    damaged = {**sections, name: bytes(changed)}
    try:
        decoded = decode_top_logits(damaged, TOKENS, k, vocab_size)
    except WireError:
        return
    again = encode_top_logits(decoded, vocab_size)
    assert again == damaged


@given(st.lists(st.binary(max_size=40), min_size=4, max_size=4), sizes, st.integers(1, 5))
def test_any_bytes_raise_nothing_else(
    parts: list[bytes], size: tuple[int, int], tokens: int
) -> None:
    with suppress(WireError):
        decode_top_logits(dict(zip(SECTIONS, parts, strict=True)), tokens, size[1], size[0])


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_lengths_are_exact(name: str, change: str) -> None:
    sections = encode_top_logits(make_top(0, 300, 9), 300)
    data = sections[name]
    sections[name] = data[:-1] if change == "shorter" else data + b"\0"
    with pytest.raises(WireError):
        decode_top_logits(sections, TOKENS, 9, 300)


def test_an_index_beyond_the_vocabulary_is_refused() -> None:
    top = make_top(0, 300, 9)
    top.indices[-1, -1] = 300
    with pytest.raises(WireError, match="index 300, the vocabulary has 300"):
        decode_top_logits(encode_top_logits(top, 300), TOKENS, 9, 300)


def test_logits_relative_to_something_else_are_refused() -> None:
    sections = encode_top_logits(make_top(0, 300, 9), 300)
    codes = np.frombuffer(sections["logits"], np.uint8).reshape(TOKENS, 9).copy()
    codes[3] += 1
    with pytest.raises(WireError, match="relative to their token's largest"):
        decode_top_logits({**sections, "logits": codes.tobytes()}, TOKENS, 9, 300)


def test_indices_come_close_to_the_entropy_bound() -> None:
    vocab_size, k = 32_000, 64
    indices = np.sort(
        np.stack([np.random.default_rng(i).choice(vocab_size, k, False) for i in range(300)])
    )
    top = TopLogits(indices, np.zeros((300, k), np.float32), np.full(300, 5, np.float32))
    sections = encode_top_logits(top, vocab_size)
    bits = 8 * (len(sections["low"]) + len(sections["unary"])) / 300
    assert 1 < bits / index_bound_bits(k, vocab_size) < 1.025
