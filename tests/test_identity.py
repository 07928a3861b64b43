"""Signatures belong to one context, one message and one signer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.identity import Identity, is_acceptable_key, verify
from psyche_p2p.ids import PublicKey
from tests import strategies as our

contexts = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=20)
PRIME = 2**255 - 19
CURVE_D = -121665 * pow(121666, -1, PRIME) % PRIME


@given(our.identities, contexts, st.binary(max_size=100))
def test_a_signature_verifies_by_peer_id_and_by_key(
    identity: Identity, context: str, message: bytes
) -> None:
    signature = identity.sign(context, message)
    assert verify(identity.peer_id, context, message, signature)
    assert verify(identity.public_key, context, message, signature)


@given(our.identities, contexts, contexts, st.binary(max_size=50), st.binary(max_size=50))
def test_a_signature_fits_nothing_else(
    identity: Identity, context: str, other_context: str, message: bytes, other: bytes
) -> None:
    signature = identity.sign(context, message)
    expected = (context, message) == (other_context, other)
    assert verify(identity.peer_id, other_context, other, signature) == expected


def test_context_and_message_cannot_trade_bytes() -> None:
    identity = Identity.from_seed(b"i" * 32)
    assert not verify(identity.peer_id, "ab", b"c", identity.sign("a", b"bc"))


@given(st.text(max_size=60), st.binary(max_size=70), st.binary(max_size=70))
def test_verify_never_raises(signer: str, key: bytes, signature: bytes) -> None:
    assert not verify(PublicKey(key), "context", b"message", signature)
    assert not verify(signer, "context", b"message", signature)  # type: ignore[arg-type]


def test_a_flipped_bit_of_a_signature_never_verifies() -> None:
    identity = Identity.from_seed(b"i" * 32)
    signature = identity.sign("context", b"message")
    for bit in range(512):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << (bit % 8)
        assert not verify(identity.peer_id, "context", b"message", bytes(flipped))


def test_keys_of_small_order_are_nobody() -> None:
    """Exactly the encodings whose point is killed by the cofactor 8, found by arithmetic here."""
    low_y = list(range(4))
    high_y = [PRIME - 1, PRIME, PRIME + 1, PRIME + 2]
    eighth = [
        int.from_bytes(bytes.fromhex(encoding), "little")
        for encoding in (
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        )
    ]
    for y in [*low_y, *high_y, *eighth]:
        expected = not _has_small_order(y % PRIME)
        for sign in (0, 1 << 255):
            assert is_acceptable_key((y | sign).to_bytes(32, "little")) == expected, y


def _has_small_order(y: int) -> bool:
    """Whether there is a point with this y, and 8 times it is nothing."""
    x_squared = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, PRIME) % PRIME
    x = pow(x_squared, (PRIME + 3) // 8, PRIME)
    if x * x % PRIME != x_squared:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if x * x % PRIME != x_squared:
        return False
    point = (x, y)
    for _ in range(3):
        point = _add(point, point)
    return point == (0, 1)


def _add(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = left, right
    product = CURVE_D * x1 * x2 * y1 * y2 % PRIME
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, PRIME)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, PRIME)
    return x % PRIME, y % PRIME


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Identity.from_seed(b"s" * length)


@pytest.mark.parametrize("context", ["", "x" * 256])
def test_a_context_is_short_and_not_empty(context: str) -> None:
    with pytest.raises(ValueError, match="signing context"):
        Identity.from_seed(b"i" * 32).sign(context, b"")


def test_secrets_do_not_show() -> None:
    identity = Identity.generate()
    assert identity.seed.hex() not in repr(identity)
    assert repr(identity.seed) not in repr(identity)
    assert Identity.generate() != identity


def test_derived_secrets_differ_by_purpose_and_peer() -> None:
    one, two = Identity.from_seed(b"1" * 32), Identity.from_seed(b"2" * 32)
    secrets = [who.derive_secret(purpose, 32) for who in (one, two) for purpose in ("a", "b")]
    assert len(set(secrets)) == 4
    assert one.derive_secret("a", 32) == secrets[0]
