"""Raw gRPC over the same mutual TLS: chunks from memory to memory, not hashed, not written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from benchmarks.transfer.ours import make_peer
from psyche_p2p.certificate import TLS_SERVER_NAME

_CHUNK_BYTES = 1 << 20
_OPTIONS = [("grpc.max_receive_message_length", 2 << 20)]


@asynccontextmanager
async def serve(folder: Path, blob: bytes) -> AsyncIterator[Any]:
    del folder
    chunks = [blob[at : at + _CHUNK_BYTES] for at in range(0, len(blob), _CHUNK_BYTES)]

    async def get(_: bytes, __: Any) -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    tls, client = make_peer("server")[0], make_peer("client")[1]
    server = grpc.aio.server(options=_OPTIONS)
    handlers = {"Get": grpc.unary_stream_rpc_method_handler(get)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Raw", handlers),))
    credentials = grpc.ssl_server_credentials(
        [(tls.private_key_pem, tls.certificate_pem)], client.pem, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield f"127.0.0.1:{port}", len(blob)
    await server.stop(None)


@asynccontextmanager
async def connect(folder: Path, address: Any) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    del folder
    where, size_bytes = address
    tls, server = make_peer("client")[0], make_peer("server")[1]
    credentials = grpc.ssl_channel_credentials(server.pem, tls.private_key_pem, tls.certificate_pem)
    options = [("grpc.ssl_target_name_override", TLS_SERVER_NAME), *_OPTIONS]

    async with grpc.aio.secure_channel(where, credentials, options=options) as channel:

        async def fetch() -> None:
            chunks = [chunk async for chunk in channel.unary_stream("/Raw/Get")(b"")]
            if sum(map(len, chunks)) != size_bytes:
                raise ValueError("the blob did not arrive whole")

        yield fetch
