"""Connections that have not yet shown a ticket: few, and the oldest gives way (pure).

Turning newcomers away when the places are taken would let whoever holds the places keep everyone
out. An honest peer needs its place for two messages, so the oldest is the least likely to be one.
"""

from __future__ import annotations

from typing import Generic, TypeVar

ConnectionT = TypeVar("ConnectionT")


class HalfOpen(Generic[ConnectionT]):
    """Places for connections, in all and for each address they come from."""

    def __init__(self, most: int, most_per_host: int) -> None:
        self._most = most
        self._most_per_host = most_per_host
        self._hosts: dict[ConnectionT, str] = {}  # in the order of arrival

    def __len__(self) -> int:
        return len(self._hosts)

    def enter(self, connection: ConnectionT, host: str) -> ConnectionT | None:
        """Take a place; the connection that lost its place to this one, if any."""
        evicted = self._to_evict(host)
        if evicted is not None:
            del self._hosts[evicted]
        self._hosts[connection] = host
        return evicted

    def leave(self, connection: ConnectionT) -> None:
        """Give the place back."""
        self._hosts.pop(connection, None)

    def _to_evict(self, host: str) -> ConnectionT | None:
        neighbours = [each for each, its_host in self._hosts.items() if its_host == host]
        if len(neighbours) >= self._most_per_host:
            return neighbours[0]
        if len(self._hosts) >= self._most:
            return next(iter(self._hosts))
        return None
