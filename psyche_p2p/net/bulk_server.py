"""A gRPC server of the bulk plane on one port: members' or joiners'.

The two are separate servers on separate ports with separate limits, so that a joiner has no path to
a member's method whatever it asks for, and a flood of joiners takes no place from members.
"""

from __future__ import annotations

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


class BulkServer:
    """Listens while it is entered."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        credentials: grpc.ServerCredentials,
        service: grpc.GenericRpcHandler,
        limits: ServerLimits,
    ) -> None:
        self._addresses = addresses
        self._credentials = credentials
        self._service = service
        self._limits = limits
        self._server: Any = None
        self.ports: list[int] = []
        """The port of each address, where that asked for any (`:0`)."""

    async def __aenter__(self) -> Self:
        limits = self._limits
        self._server = grpc.aio.server(
            options=server_options(limits.max_connections, limits.idle_s, limits.handshake_s),
            maximum_concurrent_rpcs=limits.max_calls,
        )
        self._server.add_generic_rpc_handlers((self._service,))
        for address in self._addresses:
            self.ports.append(self._bind(address))
        await self._server.start()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._server.stop(_STOP_GRACE_S)

    async def stop_now(self) -> None:
        """Break off every call and listen no more."""
        await self._server.stop(None)

    def _bind(self, address: str) -> int:
        try:
            port: int = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise ResourceError(
                f"cannot listen on {address!r}", "choose a free port and an address of this machine"
            ) from error
        return port
