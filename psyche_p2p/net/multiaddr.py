"""libp2p's addresses, as text and as bytes (https://github.com/multiformats/multiaddr).

Only what a peer of ours can have is understood: an IP address or name, TCP or QUIC, the peer behind
it, and the detour through a relay. The multiaddr code of hivemind writes /p2p wrongly, and the
daemon refuses what it writes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from psyche_p2p.errors import ConfigError
from psyche_p2p.ids import PeerId, peer_id_from_bytes, peer_id_to_bytes, public_key_from_peer_id
from psyche_p2p.wire.varint import decode_varint, encode_varint

EXAMPLE = "/ip4/203.0.113.7/tcp/4001/p2p/12D3KooW..."
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class _Protocol:
    code: int
    size_bytes: int | None
    """None: the value is preceded by its length; 0: there is no value."""
    to_bytes: Callable[[str], bytes]
    to_text: Callable[[bytes], str]


def _port_to_bytes(text: str) -> bytes:
    if not text.isascii() or not text.isdigit() or int(text) > 0xFFFF:
        raise ValueError(f"{text[:20]!r} is not a port")
    return int(text).to_bytes(2, "big")


def _name_to_bytes(text: str) -> bytes:
    if not text.isascii() or not text.isprintable() or len(text) > 253:
        raise ValueError(f"{text[:60]!r} is not a host name")
    return text.encode()


def _peer_to_bytes(text: str) -> bytes:
    public_key_from_peer_id(PeerId(text))
    return peer_id_to_bytes(PeerId(text))


def _fixed(code: int, size_bytes: int, to_bytes: Callable[[str], bytes]) -> _Protocol:
    to_text: Callable[[bytes], str] = lambda raw: str(int.from_bytes(raw, "big"))  # noqa: E731
    return _Protocol(code, size_bytes, to_bytes, to_text)


def _name(code: int) -> _Protocol:
    return _Protocol(code, None, _name_to_bytes, lambda raw: raw.decode("ascii"))


def _flag(code: int) -> _Protocol:
    return _Protocol(code, 0, lambda _: b"", lambda _: "")


_PROTOCOLS = {
    "ip4": _Protocol(
        4, 4, lambda t: ipaddress.IPv4Address(t).packed, lambda b: str(ipaddress.IPv4Address(b))
    ),
    "ip6": _Protocol(
        41, 16, lambda t: ipaddress.IPv6Address(t).packed, lambda b: str(ipaddress.IPv6Address(b))
    ),
    "dns": _name(53),
    "dns4": _name(54),
    "dns6": _name(55),
    "unix": _Protocol(400, None, lambda t: t.encode(), lambda b: b.decode()),
    "tcp": _fixed(6, 2, _port_to_bytes),
    "udp": _fixed(273, 2, _port_to_bytes),
    "quic-v1": _flag(461),
    "p2p": _Protocol(421, None, _peer_to_bytes, peer_id_from_bytes),
    "p2p-circuit": _flag(290),
}
_BY_CODE = {protocol.code: name for name, protocol in _PROTOCOLS.items()}
_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")
_TRANSPORTS = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Multiaddr:
    """An address as its parts: (("ip4", "127.0.0.1"), ("tcp", "4001"), ("p2p", "12D3..."))."""

    parts: tuple[tuple[str, str], ...]

    @property
    def peer(self) -> PeerId | None:
        """The peer at the end of the address, if it names one."""
        name, value = self.parts[-1]
        return PeerId(value) if name == "p2p" else None

    @property
    def without_peer(self) -> Multiaddr:
        """The way to the peer, without its name."""
        return Multiaddr(self.parts[:-1]) if self.peer else self

    @property
    def host(self) -> str:
        """The IP address or name of the first hop."""
        return self.parts[0][1]

    @property
    def port(self) -> int:
        """The TCP or UDP port of the first hop."""
        return int(self.parts[1][1])

    def with_port(self, port: int) -> Multiaddr:
        """The same address at another port."""
        host, (transport, _), *rest = self.parts
        return Multiaddr((host, (transport, str(port)), *rest))

    def to_bytes(self) -> bytes:
        """The binary form."""
        encoded = b""
        for name, value in self.parts:
            protocol = _PROTOCOLS[name]
            raw = protocol.to_bytes(value)
            length = encode_varint(len(raw)) if protocol.size_bytes is None else b""
            encoded += encode_varint(protocol.code) + length + raw
        return encoded

    def __str__(self) -> str:
        return "".join(f"/{name}/{value}" if value else f"/{name}" for name, value in self.parts)


def parse_multiaddr(text: str) -> Multiaddr:
    """The address in a text; ValueError says what is wrong with it."""
    if not text.startswith("/") or len(text) > _MAX_TEXT:
        raise ValueError("it does not begin with a slash")
    words = text[1:].split("/")
    parts: list[tuple[str, str]] = []
    while words:
        name = words.pop(0)
        protocol = _PROTOCOLS.get(name)
        if protocol is None or name == "unix":
            raise ValueError(f"{name[:40]!r} is not a protocol this peer speaks")
        value = "" if protocol.size_bytes == 0 else (words.pop(0) if words else "")
        if protocol.size_bytes != 0 and not value:
            raise ValueError(f"nothing follows /{name}")
        protocol.to_bytes(value)
        parts.append((name, value))
    return _require_shape(Multiaddr(tuple(parts)))


def decode_multiaddr(data: bytes) -> Multiaddr:
    """The address in its binary form; ValueError for any this peer does not speak."""
    parts: list[tuple[str, str]] = []
    while data:
        code, data = _take_varint(data)
        if code not in _BY_CODE:
            raise ValueError(f"protocol {code} is not one this peer speaks")
        protocol = _PROTOCOLS[_BY_CODE[code]]
        size = protocol.size_bytes
        if size is None:
            size, data = _take_varint(data)
        if len(data) < size:
            raise ValueError("the address is cut short")
        parts.append((_BY_CODE[code], protocol.to_text(data[:size])))
        data = data[size:]
    return _require_shape(Multiaddr(tuple(parts)))


def require_address(text: str) -> Multiaddr:
    """The address an operator gave; a ConfigError that says what is wrong with it."""
    try:
        return parse_multiaddr(text)
    except ValueError as error:
        raise ConfigError(
            f"{text[:200]!r} is not an address: {error}", f"write it like {EXAMPLE}"
        ) from error


def require_peer_address(text: str) -> Multiaddr:
    """The address of a known peer an operator gave: it must end with the peer's id."""
    address = require_address(text)
    if address.peer is None:
        raise ConfigError(
            f"{text[:200]!r} does not say which peer is there", f"write it like {EXAMPLE}"
        )
    return address


def unix_multiaddr(path: str) -> bytes:
    """The binary form of a socket in the file system."""
    return Multiaddr((("unix", path),)).to_bytes()


def _require_shape(address: Multiaddr) -> Multiaddr:
    names = [name for name, _ in address.parts]
    if len(names) < 2 or names[0] not in _HOSTS or names[1] not in _TRANSPORTS:
        raise ValueError("it needs an IP address or a name, then /tcp or /udp with a port")
    if names[1] == "udp" and names[2:3] != ["quic-v1"]:
        raise ValueError("only /quic-v1 is spoken over /udp")
    return address


def _take_varint(data: bytes) -> tuple[int, bytes]:
    decoded = decode_varint(data)
    if decoded is None:
        raise ValueError("the address is cut short")
    value, used = decoded
    return value, data[used:]
