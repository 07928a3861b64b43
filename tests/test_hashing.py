"""The hash: published BLAKE3 values, and no two lists of parts that collide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.hashing import hash_bytes, hash_parts

parts_lists = st.lists(st.binary(max_size=8), max_size=4)


def test_the_published_value_of_no_bytes() -> None:
    """From the test vectors of https://github.com/BLAKE3-team/BLAKE3."""
    expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert hash_bytes(b"").hex() == expected


@given(parts_lists, parts_lists)
def test_different_lists_have_different_hashes(left: list[bytes], right: list[bytes]) -> None:
    assert (hash_parts("test", *left) == hash_parts("test", *right)) == (left == right)


@given(parts_lists)
def test_another_context_is_another_hash(parts: list[bytes]) -> None:
    assert hash_parts("one", *parts) != hash_parts("two", *parts)
