"""The codec: a message has one encoding, and bytes from outside give a message or a WireError."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from psyche_p2p import wire
from psyche_p2p.errors import WireCode, WireError
from psyche_p2p.identity import Identity
from psyche_p2p.ids import MAX_TIER, BlobHash, EpochIndex, ParamRoot, PeerId, RoundIndex
from tests import strategies as our

ALICE = Identity.from_seed(b"a" * 32).peer_id
HASH = BlobHash(b"h" * 32)


def code_of(message_type: type[Any], data: bytes) -> WireCode:
    with pytest.raises(WireError) as caught:
        wire.decode(message_type, data)
    return caught.value.code


@given(our.messages)
def test_what_is_encoded_decodes_to_the_same(message: Any) -> None:
    assert wire.decode(type(message), wire.encode(message)) == message


@given(our.messages, st.data())
def test_no_other_bytes_mean_the_same_message(message: Any, data: st.DataObject) -> None:
    encoded = bytearray(wire.encode(message))
    assume(encoded)  # a message of defaults alone has no bytes to change
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = wire.decode(type(message), bytes(encoded))
    except WireError:
        return
    assert other != message


@given(st.sampled_from(wire.message_types()), st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_wire_errors(kind: type[Any], data: bytes) -> None:
    try:
        message = wire.decode(kind, data)
    except WireError:
        return
    assert wire.encode(message) == data


@given(our.messages, st.data())
def test_truncated_messages_raise_nothing_but_wire_errors(
    message: Any, data: st.DataObject
) -> None:
    encoded = wire.encode(message)
    assume(encoded)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    try:
        shorter = wire.decode(type(message), encoded[:cut])
    except WireError:
        return
    assert shorter != message


def test_every_message_type_is_exercised_by_the_strategies() -> None:
    """Each is drawn by itself here: among so many, chance might leave one out above."""

    @settings(max_examples=10)
    @given(st.data())
    def survives(message_type: type[Any], data: st.DataObject) -> None:
        strategies = {**our.ENVELOPED, **our.STANDALONE, **our.OTHERS}
        message = data.draw(strategies[message_type])
        assert wire.decode(message_type, wire.encode(message)) == message

    for message_type in wire.message_types():
        survives(message_type)


def test_size_is_checked_before_parsing() -> None:
    cap = wire.max_encoded_bytes(wire.Vote)
    assert code_of(wire.Vote, b"\xff" * (cap + 1)) is WireCode.TOO_LARGE
    assert code_of(wire.Vote, b"\xff" * cap) is WireCode.MALFORMED


def test_a_nested_length_of_four_gigabytes_is_malformed() -> None:
    assert code_of(wire.ChunkManifest, b"\x12\xff\xff\xff\xff\x0f") is WireCode.MALFORMED


def test_unknown_fields_are_not_canonical() -> None:
    encoded = wire.encode(wire.Withdraw(epoch=our_epoch(1), reason="bye", nonce=2))
    assert code_of(wire.Withdraw, encoded + b"\xf8\x01\x05") is WireCode.NOT_CANONICAL


def test_padded_varints_and_repeated_fields_are_not_canonical() -> None:
    assert code_of(wire.Withdraw, b"\x08\x81\x00") is WireCode.NOT_CANONICAL
    assert code_of(wire.Withdraw, b"\x08\x02\x08\x01") is WireCode.NOT_CANONICAL
    assert code_of(wire.Withdraw, b"\x08\x00") is WireCode.NOT_CANONICAL


def test_no_more_param_roots_than_there_can_be_tiers() -> None:
    def attest(count: int) -> wire.Attestation:
        roots = (ParamRoot(HASH),) * count
        return wire.Attestation(EpochIndex(1), RoundIndex(2), (), RoundIndex(2), roots)

    most = wire.encode(attest(MAX_TIER + 1))
    assert wire.decode(wire.Attestation, most) == attest(MAX_TIER + 1)
    with pytest.raises(ValueError, match="param_roots: needs at most 8 values"):
        wire.encode(attest(MAX_TIER + 2))
    one_more = most + most[-34:]
    assert code_of(wire.Attestation, one_more) is WireCode.OUT_OF_RANGE


def test_values_out_of_range_name_the_field() -> None:
    vote = wire.encode(VOTE)
    assert code_of(wire.Vote, vote.replace(b"\x18\x01", b"\x18\x09")) is WireCode.OUT_OF_RANGE
    with pytest.raises(WireError, match=r"Commitment\.batch"):
        wire.decode(wire.Commitment, b"")
    with pytest.raises(WireError, match=r"ChunkManifest\.chunks: needs 32 bytes"):
        wire.decode(wire.ChunkManifest, b"\x12\x03abc")


VOTE = wire.Vote(height=1, view=2, step=wire.VoteStep.PREVOTE, block_hash=None)  # type: ignore[arg-type]


def our_epoch(number: int) -> Any:
    return number


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", -1),
        ("height", 1 << 63),
        ("height", True),
        ("height", 1.5),
        ("step", 3),
        ("block_hash", b"short"),
        ("block_hash", "h" * 32),
    ],
)
def test_what_may_not_be_sent_is_refused_before_it_is(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        wire.encode(replace(VOTE, **{field: value}))


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1])
def test_a_loss_is_a_finite_float(loss: Any) -> None:
    with pytest.raises(ValueError, match="loss: needs a finite number"):
        wire.encode(header(loss=loss))


def test_there_is_one_zero() -> None:
    assert wire.encode(header(loss=-0.0)) == wire.encode(header(loss=0.0))


def test_text_is_printable_and_bounded() -> None:
    for reason in ("new\nline", "nul\0", "x" * 1025):
        with pytest.raises(ValueError, match="printable"):
            wire.encode(wire.Withdraw(epoch=our_epoch(0), reason=reason, nonce=2))


def test_a_peer_with_a_key_of_small_order_is_nobody() -> None:
    signature = wire.VoteSignature(voter=ALICE, signature=b"s" * 64)  # type: ignore[arg-type]
    certificate = wire.Certificate(1, 1, HASH, (signature,))  # type: ignore[arg-type]
    key = Identity.from_seed(b"a" * 32).public_key
    forged = wire.encode(certificate).replace(key, b"\x01" + b"\0" * 31)
    assert code_of(wire.Certificate, forged) is WireCode.OUT_OF_RANGE


def test_an_empty_voter_is_refused() -> None:
    with pytest.raises(ValueError, match="voter"):
        wire.encode(
            wire.Certificate(1, 1, HASH, (wire.VoteSignature(PeerId("?"), b"s" * 64),))  # type: ignore[arg-type]
        )


def header(**changes: Any) -> wire.BlobHeader:
    values: dict[str, Any] = {
        "version": 1,
        "kind": wire.BlobKind.UPDATE,
        "run_id": HASH,
        "producer": ALICE,
        "schema_hash": HASH,
        "payload_hash": HASH,
        "loss": 1.0,
        **changes,
    }
    empty: dict[str, Any] = {"batch": None, "codec": None, "tensors": (), "sections": ()}
    for field in fields(wire.BlobHeader):
        values.setdefault(field.name, empty.get(field.name, 0))
    return wire.BlobHeader(**values)
