"""A gRPC server of the bulk plane on one port: members' or joiners'.

The two are separate servers on separate ports with separate limits, so that a joiner has no path to
a member's method whatever it asks for, and a flood of joiners takes no place from members.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
from typing_extensions import Self

from psyche_p2p.errors import ResourceError
from psyche_p2p.net.methods import server_options

_STOP_GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What connections may cost, before anyone has said who it is."""

    max_connections: int = 4096
    max_calls: int = 1024
    """Calls in progress, waiting ones included; beyond that they are refused at once."""
    idle_s: float = 300.0
    handshake_s: float = 10.0
    drain_s: float = 60.0
    """How long calls may go on that began before the members changed."""


class BulkServer:
    """Listens while it is entered."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        make_credentials: Callable[[], grpc.ServerCredentials],
        service: grpc.GenericRpcHandler,
        limits: ServerLimits,
    ) -> None:
        self._addresses = addresses
        self._make_credentials = make_credentials
        self._service = service
        self._limits = limits
        self._server: Any = None
        self._draining: set[asyncio.Task[None]] = set()
        self.ports: list[int] = []
        """The port of each address, where that asked for any (`:0`)."""

    async def __aenter__(self) -> Self:
        for address in self._addresses:
            _require_free(address)
        self._server = await self._start(self._addresses)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        await self._server.stop(_STOP_GRACE_S)

    async def renew(self) -> None:
        """Make the credentials anew, for every handshake from now on.

        A new server listens on the same port before the old one stops to; calls in progress go on
        (each is still checked), and clients open their next one on a new connection.
        """
        old = self._server
        pairs = zip(self._addresses, self.ports, strict=True)
        bound = tuple(f"{address.rpartition(':')[0]}:{port}" for address, port in pairs)
        self._server = await self._start(bound)
        stopped = asyncio.Event()
        task = asyncio.create_task(self._drain(old, stopped))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)
        await stopped.wait()

    async def stop_now(self) -> None:
        """Break off every call and listen no more."""
        await self._server.stop(None)

    async def _start(self, addresses: tuple[str, ...]) -> Any:
        limits = self._limits
        server = grpc.aio.server(
            options=server_options(limits.max_connections, limits.idle_s, limits.handshake_s),
            maximum_concurrent_rpcs=limits.max_calls,
        )
        server.add_generic_rpc_handlers((self._service,))
        credentials = self._make_credentials()
        self.ports = [_bind(server, address, credentials) for address in addresses]
        await server.start()
        return server

    async def _drain(self, server: Any, stopped: asyncio.Event) -> None:
        """Stop listening at once, and the rest when its calls have ended."""
        stopping = asyncio.ensure_future(server.stop(self._limits.drain_s))
        await asyncio.sleep(0)  # `stop` closes the listeners before it first waits
        stopped.set()
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await server.stop(None)
            await stopping


def _bind(server: Any, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        port: int = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise _taken(address) from error
    return port


def _require_free(address: str) -> None:
    """A ResourceError if someone listens there, whom gRPC would share the port with."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(port)))
            probe.listen(1)
    except (OSError, ValueError, OverflowError) as error:
        raise _taken(address) from error


def _taken(address: str) -> ResourceError:
    return ResourceError(
        f"cannot listen on {address!r}", "choose a free port and an address of this machine"
    )
