"""Which connections to this machine's own servers come out of a relayed circuit.

They come from this machine's own address, so whatever trusts or uses a caller's address (dialling
it back, above all) must ask here first.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


class Detours:
    """The local ends of the circuits that are open now."""

    def __init__(self) -> None:
        self._ports: set[int] = set()

    @contextmanager
    def noted(self, connection: socket.socket) -> Iterator[None]:
        """Count this connection, on which nothing has been sent yet, as one of them."""
        port: int = connection.getsockname()[1]
        self._ports.add(port)
        try:
            yield
        finally:
            self._ports.discard(port)

    def is_one(self, caller: str) -> bool:
        """Whether a caller, as gRPC names it, may have come so.

        Another machine that happens to call from the same port counts as one, too.
        """
        port = caller.rpartition(":")[2]
        return port.isascii() and port.isdigit() and int(port) in self._ports
