"""How a relay, and a peer behind one, is written down: `relay/HOST:PORT/RELAY_PEER_ID`.

A peer that can be reached only through a relay lists such addresses where others list `HOST:PORT`.
"""

from __future__ import annotations

from dataclasses import dataclass

from psyche_p2p.errors import ConfigError
from psyche_p2p.ids import PeerId, public_key_from_peer_id

PREFIX = "relay/"
EXAMPLE = f"{PREFIX}203.0.113.7:4002/12D3KooW..."
_MAX_HOST_CHARACTERS = 253


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """Where a relay listens, and who it is."""

    host: str
    port: int
    peer: PeerId

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{PREFIX}{host}:{self.port}/{self.peer}"


def is_relay_address(text: str) -> bool:
    """Whether an address leads through a relay."""
    return text.startswith(PREFIX)


def parse_relay_address(text: str) -> RelayAddress:
    """The relay in a text; ConfigError says what is wrong with it."""
    place, _, peer = text.removeprefix(PREFIX).rpartition("/")
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        _require(is_relay_address(text), f"it does not begin with {PREFIX}")
        _require(port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16, "it has no port")
        is_host = 0 < len(host) <= _MAX_HOST_CHARACTERS and host.isascii() and host.isprintable()
        _require(is_host and "/" not in host and " " not in host, "it has no host")
        public_key_from_peer_id(PeerId(peer))
    except ValueError as error:
        cause = f"{text[:200]!r} is not the address of a relay: {error}"
        raise ConfigError(cause, f"write it like {EXAMPLE}") from error
    return RelayAddress(host, int(port), PeerId(peer))


def _require(is_met: bool, reason: str) -> None:
    if not is_met:
        raise ValueError(reason)
