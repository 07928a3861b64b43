"""The signed envelope: who says what in which run, checked from the cheapest test on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from google.protobuf.message import DecodeError

from psyche_p2p.errors import WireCode, WireError
from psyche_p2p.hashing import DIGEST_BYTES, hash_bytes
from psyche_p2p.identity import Identity, is_acceptable_key, verify
from psyche_p2p.ids import (
    SIGNATURE_BYTES,
    PeerId,
    PublicKey,
    RunId,
    Signature,
    peer_id_from_public_key,
    public_key_from_peer_id,
)
from psyche_p2p.wire import messages
from psyche_p2p.wire.codec import decode, encode, max_encoded_bytes
from psyche_p2p.wire.generated import envelope_pb2

WIRE_VERSION = 1
MAX_ENVELOPE_BYTES = 64 * 1024
ENVELOPE_CONTEXT = "envelope"


class Kind(IntEnum):
    """What the body of an envelope is."""

    COMMITMENT = 1
    ATTESTATION = 2
    VERDICT = 3
    JOIN = 4
    WITHDRAW = 5
    PROPOSAL = 6
    VOTE = 7
    STATUS = 8
    ANTI_ENTROPY_DIGEST = 9
    WARM = 10
    OWNER_ORDER = 11
    REFUSAL = 12


_MESSAGE_TYPES: dict[Kind, type[Any]] = {
    Kind.COMMITMENT: messages.Commitment,
    Kind.ATTESTATION: messages.Attestation,
    Kind.VERDICT: messages.Verdict,
    Kind.JOIN: messages.Join,
    Kind.WITHDRAW: messages.Withdraw,
    Kind.PROPOSAL: messages.Proposal,
    Kind.VOTE: messages.Vote,
    Kind.STATUS: messages.Status,
    Kind.ANTI_ENTROPY_DIGEST: messages.AntiEntropyDigest,
    Kind.WARM: messages.Warm,
    Kind.OWNER_ORDER: messages.OwnerOrder,
    Kind.REFUSAL: messages.Refusal,
}
_KINDS = {message_type: kind for kind, message_type in _MESSAGE_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message whose signature has been checked."""

    id: bytes
    """Hash of the envelope's bytes: the same statement has the same id, whoever hands it over."""
    run_id: RunId
    kind: Kind
    sender: PeerId
    message: Any
    signature: Signature
    raw: bytes
    """The envelope as it came, to be passed on or kept as evidence."""


def seal(message: Any, run_id: RunId, identity: Identity) -> bytes:
    """A message of ours as signed bytes, ready to send."""
    kind, body = _KINDS[type(message)], encode(message)
    proto = envelope_pb2.SignedEnvelope(
        version=WIRE_VERSION,
        run_id=run_id,
        kind=kind,
        body=body,
        sender=identity.public_key,
        signature=identity.sign(
            ENVELOPE_CONTEXT, _signed_part(run_id, kind, identity.public_key, body)
        ),
    )
    return proto.SerializeToString(deterministic=True)


def open_envelope(data: bytes, run_id: RunId) -> Envelope:
    """The verified message in bytes from outside; a WireError for anything else."""
    proto = _parse(data)
    kind = _require_known(proto)
    _require_canonical(proto, data)
    if proto.run_id != run_id:
        raise WireError(WireCode.WRONG_RUN, "an envelope of another run")
    if len(proto.body) > max_encoded_bytes(_MESSAGE_TYPES[kind]):
        raise WireError(WireCode.TOO_LARGE, f"{kind.name} of {len(proto.body)} bytes")
    sender = PublicKey(proto.sender)
    signed = _signed_part(run_id, kind, sender, proto.body)
    if not verify(sender, ENVELOPE_CONTEXT, signed, proto.signature):
        raise WireError(WireCode.BAD_SIGNATURE, "the sender did not sign this")
    return Envelope(
        id=hash_bytes(data),
        run_id=run_id,
        kind=kind,
        sender=peer_id_from_public_key(sender),
        message=decode(_MESSAGE_TYPES[kind], proto.body),
        signature=Signature(proto.signature),
        raw=data,
    )


def verify_detached(message: Any, run_id: RunId, sender: PeerId, signature: bytes) -> bool:
    """Whether this signature is the sender's over the envelope of this message.

    So a certificate can carry its votes' signatures alone: the votes themselves can be written down
    again, to the byte.
    """
    try:
        signed = bytes_to_sign(message, run_id, sender)
    except ValueError:
        return False
    return verify(sender, ENVELOPE_CONTEXT, signed, signature)


def bytes_to_sign(message: Any, run_id: RunId, sender: PeerId) -> bytes:
    """What the sender of this message signs, in the context "envelope"."""
    public_key = public_key_from_peer_id(sender)
    return _signed_part(run_id, _KINDS[type(message)], public_key, encode(message))


def _parse(data: bytes) -> envelope_pb2.SignedEnvelope:
    if len(data) > MAX_ENVELOPE_BYTES:
        cause = f"an envelope of {len(data)} bytes, at most {MAX_ENVELOPE_BYTES} are allowed"
        raise WireError(WireCode.TOO_LARGE, cause)
    try:
        proto = envelope_pb2.SignedEnvelope.FromString(data)
    except DecodeError as error:
        raise WireError(WireCode.MALFORMED, "not an envelope") from error
    if proto.version != WIRE_VERSION:
        cause = f"version {proto.version}, this peer speaks {WIRE_VERSION}"
        raise WireError(WireCode.UNKNOWN_VERSION, cause, "update the older of the two peers")
    return proto


def _require_known(proto: envelope_pb2.SignedEnvelope) -> Kind:
    lengths = (len(proto.run_id), len(proto.signature))
    if lengths != (DIGEST_BYTES, SIGNATURE_BYTES) or not is_acceptable_key(proto.sender):
        raise WireError(WireCode.OUT_OF_RANGE, "run id, sender or signature is not one")
    try:
        return Kind(proto.kind)
    except ValueError as error:
        raise WireError(WireCode.UNKNOWN_KIND, f"kind {proto.kind}") from error


def _require_canonical(proto: envelope_pb2.SignedEnvelope, data: bytes) -> None:
    """The signature does not cover the envelope's own encoding, so there must be only one."""
    again = envelope_pb2.SignedEnvelope(
        version=proto.version,
        run_id=proto.run_id,
        kind=proto.kind,
        body=proto.body,
        sender=proto.sender,
        signature=proto.signature,
    )
    if again.SerializeToString(deterministic=True) != data:
        raise WireError(WireCode.NOT_CANONICAL, "an envelope in another form than the canonical")


def _signed_part(run_id: RunId, kind: int, sender: PublicKey, body: bytes) -> bytes:
    header = WIRE_VERSION.to_bytes(4, "little") + int(kind).to_bytes(4, "little")
    return run_id + header + sender + body
