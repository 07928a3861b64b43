"""What is said over the control socket of the libp2p daemon: requests out, answers in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from psyche_p2p.errors import WireCode, WireError
from psyche_p2p.ids import PeerId, peer_id_from_bytes, peer_id_to_bytes
from psyche_p2p.wire.generated import control_pb2 as pb

_Type = pb.ControlRequest.Type
_PubSubType = pb.PubSubRequest.Type


@dataclass(frozen=True, slots=True)
class Answer:
    """The daemon's answer; fields that the request did not ask for are empty."""

    error: str | None
    peer: PeerId | None
    """The daemon's own id, or the peer at the other end of a new stream."""
    addresses: tuple[bytes, ...]
    peers: tuple[PeerId, ...]
    """Connected peers, or those that subscribe to a topic. Only Ed25519 peers are listed."""
    protocol: str


@dataclass(frozen=True, slots=True)
class GossipMessage:
    """A message of a topic; the daemon has checked that `author` signed it."""

    author: PeerId
    data: bytes


def identify_request() -> bytes:
    """Who are you, and at which addresses?"""
    return _encode(pb.ControlRequest(type=_Type.IDENTIFY))


def connect_request(peer: PeerId, addresses: Iterable[bytes], timeout_s: int) -> bytes:
    """Connect to a peer at these binary multiaddrs (without their /p2p part)."""
    connect = pb.ConnectRequest(
        peer=peer_id_to_bytes(peer), addresses=addresses, timeout_s=timeout_s
    )
    return _encode(pb.ControlRequest(type=_Type.CONNECT, connect=connect))


def disconnect_request(peer: PeerId) -> bytes:
    """Close every connection with a peer."""
    disconnect = pb.DisconnectRequest(peer=peer_id_to_bytes(peer))
    return _encode(pb.ControlRequest(type=_Type.DISCONNECT, disconnect=disconnect))


def list_peers_request() -> bytes:
    """Whom are you connected to?"""
    return _encode(pb.ControlRequest(type=_Type.LIST_PEERS))


def list_topic_peers_request(topic: str) -> bytes:
    """Which connected peers subscribe to this topic?"""
    return _pubsub(pb.PubSubRequest(type=_PubSubType.LIST_TOPIC_PEERS, topic=topic))


def publish_request(topic: str, data: bytes) -> bytes:
    """Publish to a topic."""
    return _pubsub(pb.PubSubRequest(type=_PubSubType.PUBLISH, topic=topic, data=data))


def subscribe_request(topic: str) -> bytes:
    """Send me a topic's messages over this connection until I close it."""
    return _pubsub(pb.PubSubRequest(type=_PubSubType.SUBSCRIBE, topic=topic))


def open_stream_request(peer: PeerId, protocols: Sequence[str], timeout_s: int) -> bytes:
    """Make this connection a stream to a peer."""
    stream = pb.StreamOpenRequest(
        peer=peer_id_to_bytes(peer), protocols=protocols, timeout_s=timeout_s
    )
    return _encode(pb.ControlRequest(type=_Type.STREAM_OPEN, stream_open=stream))


def handle_streams_request(address: bytes, protocols: Sequence[str]) -> bytes:
    """Hand incoming streams of these protocols to the socket at a binary multiaddr."""
    handler = pb.StreamHandlerRequest(address=address, protocols=protocols, balanced=False)
    return _encode(pb.ControlRequest(type=_Type.STREAM_HANDLER, stream_handler=handler))


def decode_answer(data: bytes) -> Answer:
    """The daemon's answer; a WireError for anything else."""
    try:
        proto = pb.ControlResponse.FromString(data)
    except DecodeError as error:
        raise WireError(WireCode.MALFORMED, "not an answer of the libp2p daemon") from error
    is_error = proto.type == pb.ControlResponse.Type.ERROR
    listed = [entry.peer for entry in proto.peers] or proto.pubsub.peers
    return Answer(
        error=(proto.error.message or "no reason given") if is_error else None,
        peer=_peer_or_none(proto.identify.peer or proto.stream.peer),
        addresses=tuple(proto.identify.addresses),
        peers=tuple(peer for raw in listed if (peer := _peer_or_none(raw))),
        protocol=proto.stream.protocol,
    )


def decode_stream_info(data: bytes) -> tuple[PeerId, str]:
    """(peer, protocol) of an incoming stream; a WireError for anything else."""
    try:
        proto = pb.StreamInfo.FromString(data)
        return peer_id_from_bytes(proto.peer), proto.protocol
    except (DecodeError, ValueError) as error:
        raise WireError(WireCode.MALFORMED, "not the head of a stream of Ed25519 peers") from error


def decode_gossip(data: bytes) -> GossipMessage:
    """A topic's message; a WireError for bytes that are none, or whose author is not one of us."""
    try:
        proto = pb.GossipMessage.FromString(data)
        return GossipMessage(author=peer_id_from_bytes(proto.author), data=proto.data)
    except (DecodeError, ValueError) as error:
        raise WireError(WireCode.MALFORMED, "not a gossip message of an Ed25519 peer") from error


def _encode(request: pb.ControlRequest) -> bytes:
    return request.SerializeToString(deterministic=True)


def _pubsub(request: pb.PubSubRequest) -> bytes:
    return _encode(pb.ControlRequest(type=_Type.PUBSUB, pubsub=request))


def _peer_or_none(raw: bytes) -> PeerId | None:
    try:
        return peer_id_from_bytes(raw)
    except ValueError:
        return None
