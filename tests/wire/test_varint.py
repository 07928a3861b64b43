"""Varints: every value has one encoding, and nothing else decodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.wire.varint import decode_varint, encode_varint


@given(st.integers(0, 2**63 - 1), st.binary(max_size=4))
def test_round_trip_with_anything_behind(value: int, rest: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(encoded + rest) == (value, len(encoded))


@given(st.integers(0, 2**63 - 1))
def test_an_incomplete_varint_asks_for_more(value: int) -> None:
    assert decode_varint(encode_varint(value)[:-1]) is None


@pytest.mark.parametrize(
    "data", [b"\x80\x00", b"\x81\x80\x00", b"\x80" * 9, b"\xff" * 9, b"\xff" * 9 + b"\x01"]
)
def test_long_and_padded_varints_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="varint"):
        decode_varint(data)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_values_out_of_range_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="varint"):
        encode_varint(value)


def test_the_published_examples() -> None:
    """From https://github.com/multiformats/unsigned-varint."""
    examples = {1: "01", 127: "7f", 128: "8001", 255: "ff01", 300: "ac02", 16384: "808001"}
    assert {value: encode_varint(value).hex() for value in examples} == examples
