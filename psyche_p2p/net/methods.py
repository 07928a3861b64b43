"""The names and sizes that both ends of the bulk plane agree on (proto/psyche/v1/bulk.proto)."""

from __future__ import annotations

from typing import Any

MEMBER_SERVICE = "psyche.v1.Member"
JOINER_SERVICE = "psyche.v1.Joiner"

MIB = 1 << 20
MAX_REQUEST_BYTES = 512 << 10
MAX_REPLY_BYTES = MIB + (64 << 10)
"""A chunk, with room for gRPC's own. A message larger than this is refused before it is read."""
MAX_CHUNKS_PER_CALL = 64
MAX_BLOCKS_PER_CALL = 256
MAX_HASHES_PER_CALL = 1024
MAX_DESCRIPTION_PIECES = 10
"""Of a MiB each: a genesis of many founders is larger than one message."""
MAX_OFFERS = 64
MAX_PULLED_BYTES = 8 * MIB
"""What one anti-entropy pull may carry; the next one goes on where it ended."""
MAX_PULLED_STATEMENTS = 4096

_METADATA_BYTES = 8 << 10
_CONNECT_MS = 10_000
_PING_MS = 20_000
_PING_TIMEOUT_MS = 10_000
_SECOND_MS = 1000


def server_options(max_connections: int, idle_s: float, handshake_s: float) -> list[Any]:
    """How a server bounds what a stranger may cost it."""
    return [
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", MAX_REPLY_BYTES),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * _METADATA_BYTES),
        ("grpc.max_concurrent_streams", MAX_CHUNKS_PER_CALL),
        ("grpc.max_connection_idle_ms", int(idle_s * _SECOND_MS)),
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.server_handshake_timeout_ms", int(handshake_s * _SECOND_MS)),
        ("grpc.keepalive_time_ms", _PING_MS),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.http2.min_ping_interval_without_data_ms", _PING_MS // 2),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.so_reuseport", 1),  # for BulkServer.renew
    ]


def channel_options() -> list[Any]:
    """How a client reconnects, and what it accepts."""
    return [
        ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
        ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.keepalive_time_ms", _PING_MS),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # in gRPC's C core this is how long one attempt may take, TLS and long ways included
        ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", 5000),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    ]
