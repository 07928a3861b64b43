"""The envelope: what was said is what is heard, and any other byte makes it worthless."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p import wire
from psyche_p2p.errors import WireCode, WireError
from psyche_p2p.identity import Identity, verify
from psyche_p2p.ids import RunId
from psyche_p2p.wire.generated import envelope_pb2
from tests import strategies as our

RUN = RunId(b"r" * 32)
OTHER_RUN = RunId(b"o" * 32)
ALICE = Identity.from_seed(b"a" * 32)
VOTE = wire.Vote(height=7, view=0, step=wire.VoteStep.PRECOMMIT, block_hash=None)  # type: ignore[arg-type]


def code_of(data: bytes, run: RunId = RUN) -> WireCode:
    with pytest.raises(WireError) as caught:
        wire.open_envelope(data, run)
    return caught.value.code


def changed(**fields: Any) -> bytes:
    """Alice's vote with parts of its envelope replaced, in canonical form."""
    proto = envelope_pb2.SignedEnvelope.FromString(wire.seal(VOTE, RUN, ALICE))
    for name, value in fields.items():
        setattr(proto, name, value)
    return proto.SerializeToString(deterministic=True)


@given(our.enveloped, our.identities)
def test_what_is_sealed_opens(message: Any, identity: Identity) -> None:
    data = wire.seal(message, RUN, identity)
    envelope = wire.open_envelope(data, RUN)
    assert (envelope.message, envelope.sender) == (message, identity.peer_id)
    assert (envelope.run_id, envelope.raw) == (RUN, data)
    assert len(data) <= wire.MAX_ENVELOPE_BYTES


@given(our.enveloped, st.data())
def test_a_changed_byte_anywhere_is_refused(message: Any, data: st.DataObject) -> None:
    sealed = bytearray(wire.seal(message, RUN, ALICE))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    code_of(bytes(sealed))


def test_every_single_bit_flip_of_a_vote_is_refused() -> None:
    sealed = wire.seal(VOTE, RUN, ALICE)
    for position in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[position // 8] ^= 1 << (position % 8)
        code_of(bytes(flipped))


@given(our.enveloped, st.data())
def test_a_truncated_or_extended_envelope_is_refused(message: Any, data: st.DataObject) -> None:
    sealed = wire.seal(message, RUN, ALICE)
    code_of(sealed[: data.draw(st.integers(0, len(sealed) - 1))])
    code_of(sealed + data.draw(st.binary(min_size=1, max_size=20)))


@given(st.binary(max_size=600))
def test_random_bytes_are_refused(data: bytes) -> None:
    code_of(data)


def test_an_oversized_envelope_is_refused_before_parsing() -> None:
    assert code_of(b"\0" * (wire.MAX_ENVELOPE_BYTES + 1)) is WireCode.TOO_LARGE


def test_a_body_beyond_its_kind_is_refused_before_its_signature_is_checked() -> None:
    assert code_of(changed(body=b"x" * 2000)) is WireCode.TOO_LARGE


def test_a_replay_in_the_same_run_has_the_same_id() -> None:
    sealed = wire.seal(VOTE, RUN, ALICE)
    assert wire.open_envelope(sealed, RUN).id == wire.open_envelope(bytes(sealed), RUN).id


def test_a_replay_in_another_run_is_refused() -> None:
    assert code_of(wire.seal(VOTE, RUN, ALICE), OTHER_RUN) is WireCode.WRONG_RUN
    assert code_of(changed(run_id=OTHER_RUN), OTHER_RUN) is WireCode.BAD_SIGNATURE


def test_a_signature_serves_no_other_kind_sender_or_version() -> None:
    bob = Identity.from_seed(b"b" * 32)
    assert code_of(changed(kind=wire.Kind.WITHDRAW)) is WireCode.BAD_SIGNATURE
    assert code_of(changed(sender=bob.public_key)) is WireCode.BAD_SIGNATURE
    assert code_of(changed(version=2)) is WireCode.UNKNOWN_VERSION
    assert code_of(changed(kind=99)) is WireCode.UNKNOWN_KIND
    assert code_of(changed(sender=b"short")) is WireCode.OUT_OF_RANGE


def test_a_signature_made_for_another_context_is_refused() -> None:
    sealed = envelope_pb2.SignedEnvelope.FromString(wire.seal(VOTE, RUN, ALICE))
    signed = RUN + (1).to_bytes(4, "little") + (7).to_bytes(4, "little")
    signed += ALICE.public_key + sealed.body
    assert verify(ALICE.peer_id, "envelope", signed, sealed.signature)
    assert code_of(changed(signature=ALICE.sign("tls-certificate", signed))) is (
        WireCode.BAD_SIGNATURE
    )


def test_a_padded_envelope_is_not_canonical() -> None:
    sealed = wire.seal(VOTE, RUN, ALICE)
    assert code_of(sealed + b"\xf8\x01\x05") is WireCode.NOT_CANONICAL
    assert code_of(b"\x08\x81\x00" + sealed[2:]) is WireCode.NOT_CANONICAL


def test_a_signed_body_that_is_no_message_is_refused() -> None:
    body = b"\xff\xff"
    signed = RUN + (1).to_bytes(4, "little") + (7).to_bytes(4, "little") + ALICE.public_key + body
    data = changed(body=body, signature=ALICE.sign("envelope", signed))
    assert code_of(data) is WireCode.MALFORMED


def test_the_signed_bytes_are_those_of_the_protocol_document() -> None:
    """Checked with nothing of ours but the bytes: another language can do the same."""
    sealed = envelope_pb2.SignedEnvelope.FromString(wire.seal(VOTE, RUN, ALICE))
    signed = b"psyche-p2p/v1 " + b"\x08envelope" + RUN + b"\x01\0\0\0" + b"\x07\0\0\0"
    signed += sealed.sender + sealed.body
    Ed25519PublicKey.from_public_bytes(sealed.sender).verify(sealed.signature, signed)


@given(our.votes, our.identities, our.identities)
def test_a_detached_signature_fits_its_vote_sender_and_run_alone(
    vote: wire.Vote, identity: Identity, other: Identity
) -> None:
    signature = wire.open_envelope(wire.seal(vote, RUN, identity), RUN).signature
    assert wire.verify_detached(vote, RUN, identity.peer_id, signature)
    assert not wire.verify_detached(vote, OTHER_RUN, identity.peer_id, signature)
    if other != identity:
        assert not wire.verify_detached(vote, RUN, other.peer_id, signature)


def test_a_detached_signature_of_nobody_is_false() -> None:
    assert not wire.verify_detached(VOTE, RUN, "nobody", b"s" * 64)  # type: ignore[arg-type]
