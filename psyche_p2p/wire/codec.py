"""The one codec: a message to its only encoding, bytes from anywhere to a message or a WireError.

Encodings are canonical: fields in ascending order, defaults left out, varints as short as they can
be, nothing unknown. A decoder gets that property by encoding what it read and comparing, so a
message and its hash determine each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError

from psyche_p2p.errors import WireCode, WireError
from psyche_p2p.wire import bulk, commands, messages, reachability, records, relay
from psyche_p2p.wire.fields import MessageConverter
from psyche_p2p.wire.generated import (
    anti_entropy_pb2,
    blob_pb2,
    bulk_pb2,
    consensus_pb2,
    coordinator_pb2,
    discovery_pb2,
    membership_pb2,
    reachability_pb2,
    relay_pb2,
    round_pb2,
)

KIB = 1 << 10
MIB = 1 << 20
GOSSIP_BODY_BYTES = 63 * KIB  # a message that, with its envelope, fits gossip's 64 KiB
COMMAND_BYTES = GOSSIP_BODY_BYTES - 3 * KIB  # and with its block around it
COMMANDS = (
    commands.Admit,
    commands.Release,
    commands.Obey,
    commands.OpenEpoch,
    commands.BeginTraining,
    commands.CloseRound,
    commands.CloseEpoch,
    commands.EjectForVotes,
    commands.EjectForCommitments,
    commands.EjectForVerdicts,
)

MessageT = TypeVar("MessageT")


@dataclass(frozen=True, slots=True)
class _Spec:
    converter: MessageConverter
    max_bytes: int


def _spec(file: FileDescriptor, message_type: type[Any], max_bytes: int) -> _Spec:
    descriptor = file.message_types_by_name[message_type.__name__]
    return _Spec(MessageConverter(message_type, descriptor), max_bytes)


_SPECS: dict[type[Any], _Spec] = {
    message_type: _spec(file, message_type, max_bytes)
    for file, message_type, max_bytes in (
        (round_pb2.DESCRIPTOR, messages.Commitment, KIB),
        (round_pb2.DESCRIPTOR, messages.Attestation, GOSSIP_BODY_BYTES),
        (round_pb2.DESCRIPTOR, messages.Verdict, KIB),
        (round_pb2.DESCRIPTOR, messages.Refusal, KIB),
        (membership_pb2.DESCRIPTOR, messages.Join, 16 * KIB),
        (membership_pb2.DESCRIPTOR, messages.Withdraw, 2 * KIB),
        (membership_pb2.DESCRIPTOR, messages.Warm, KIB),
        (membership_pb2.DESCRIPTOR, messages.OwnerOrder, KIB),
        (membership_pb2.DESCRIPTOR, messages.Status, 2 * KIB),
        (coordinator_pb2.DESCRIPTOR, commands.Genesis, 8 * MIB),
        (coordinator_pb2.DESCRIPTOR, commands.Command, COMMAND_BYTES + KIB),
        *((coordinator_pb2.DESCRIPTOR, command, COMMAND_BYTES) for command in COMMANDS),
        (coordinator_pb2.DESCRIPTOR, records.StateRecord, 256 * MIB),
        (discovery_pb2.DESCRIPTOR, messages.PeerRecord, 4 * KIB),
        (discovery_pb2.DESCRIPTOR, messages.RunListing, KIB),
        (discovery_pb2.DESCRIPTOR, messages.RelayListing, KIB),
        (consensus_pb2.DESCRIPTOR, messages.Block, GOSSIP_BODY_BYTES - KIB),
        (consensus_pb2.DESCRIPTOR, messages.Proposal, GOSSIP_BODY_BYTES),
        (consensus_pb2.DESCRIPTOR, messages.Vote, KIB),
        (consensus_pb2.DESCRIPTOR, messages.Certificate, 32 * KIB),
        (consensus_pb2.DESCRIPTOR, messages.DecidedBlock, 96 * KIB),
        (consensus_pb2.DESCRIPTOR, messages.StoredStatement, MIB),
        (blob_pb2.DESCRIPTOR, messages.BlobHeader, 256 * KIB),
        (blob_pb2.DESCRIPTOR, messages.ChunkManifest, MIB),
        (anti_entropy_pb2.DESCRIPTOR, messages.AntiEntropyDigest, GOSSIP_BODY_BYTES),
        (bulk_pb2.DESCRIPTOR, bulk.BlobRequest, KIB),
        (bulk_pb2.DESCRIPTOR, bulk.HaveRequest, 64 * KIB),
        (bulk_pb2.DESCRIPTOR, bulk.HaveReply, MIB),
        (bulk_pb2.DESCRIPTOR, bulk.ChunkRequest, 4 * KIB),
        (bulk_pb2.DESCRIPTOR, bulk.LogRequest, KIB),
        (bulk_pb2.DESCRIPTOR, bulk.PullRequest, 256 * KIB),
        (bulk_pb2.DESCRIPTOR, bulk.PushReply, KIB),
        (bulk_pb2.DESCRIPTOR, bulk.DescribeRequest, KIB),
        (bulk_pb2.DESCRIPTOR, bulk.RunDescription, 10 * MIB),
        (relay_pb2.DESCRIPTOR, relay.RelayHello, KIB),
        (relay_pb2.DESCRIPTOR, relay.RelayTicket, KIB),
        (relay_pb2.DESCRIPTOR, relay.SignedRelayTicket, KIB),
        (relay_pb2.DESCRIPTOR, relay.RelayAnswer, KIB),
        (relay_pb2.DESCRIPTOR, relay.RelayCall, KIB),
        (reachability_pb2.DESCRIPTOR, reachability.DialBackRequest, KIB),
        (reachability_pb2.DESCRIPTOR, reachability.DialBackReport, KIB),
    )
}


def encode(message: Any) -> bytes:
    """The canonical bytes of a message; ValueError if it holds what may not be sent."""
    spec = _SPECS[type(message)]
    data: bytes = spec.converter.to_proto(message).SerializeToString(deterministic=True)
    if len(data) > spec.max_bytes:
        name = type(message).__name__
        raise ValueError(f"{name} of {len(data)} bytes, at most {spec.max_bytes} are allowed")
    return data


def decode(message_type: type[MessageT], data: bytes) -> MessageT:
    """The message in bytes from outside; a WireError for anything but a canonical encoding."""
    spec, name = _SPECS[message_type], message_type.__name__
    if len(data) > spec.max_bytes:
        cause = f"{name} of {len(data)} bytes, at most {spec.max_bytes} are allowed"
        raise WireError(WireCode.TOO_LARGE, cause)
    try:
        proto = spec.converter.parse(data)
    except DecodeError as error:
        raise WireError(WireCode.MALFORMED, f"not a {name}") from error
    try:
        message: MessageT = spec.converter.from_proto(proto)
    except ValueError as error:
        raise WireError(WireCode.OUT_OF_RANGE, f"{name}.{error}") from error
    if spec.converter.to_proto(message).SerializeToString(deterministic=True) != data:
        raise WireError(WireCode.NOT_CANONICAL, f"{name} in another form than the canonical one")
    return message


def max_encoded_bytes(message_type: type[Any]) -> int:
    """The size that a message of this type may have."""
    return _SPECS[message_type].max_bytes


def message_types() -> tuple[type[Any], ...]:
    """Every message type this codec knows."""
    return tuple(_SPECS)
