"""Who is calling: a member by its certificate, or a joiner by its address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Protocol
from urllib.parse import unquote

from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import PeerId
from psyche_p2p.net.tls import MemberTrust, pem_fingerprint

_IPV6_NETWORK_BITS = 64  # one customer's share: its addresses are one caller


class NotTrusted(Unavailable):
    """The caller is nobody this service answers to."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What limits are counted by, and for a member its name and its certificate."""

    key: str
    peer: PeerId | None
    fingerprint: bytes


class Gate(Protocol):
    """Decides who may call."""

    def admit(self, context: Any) -> Caller:
        """The caller of a gRPC call; NotTrusted if it may not call."""

    def require_still(self, caller: Caller) -> None:
        """NotTrusted if the caller may no longer call: asked before every answer of a stream."""


class MemberGate:
    """Lets members in, for as long as they are members."""

    def __init__(self, trust: MemberTrust) -> None:
        self._trust = trust

    def admit(self, context: Any) -> Caller:
        shown: Mapping[str, list[bytes]] = context.auth_context()
        certificates = shown.get("x509_pem_cert", [])
        if len(certificates) != 1:
            raise NotTrusted("no certificate was shown")
        fingerprint = _fingerprint(certificates[0])
        peer = self._trust.find_member(fingerprint)
        if peer is None:
            raise NotTrusted("this certificate is not a member's")
        return Caller(peer, peer, fingerprint)

    def require_still(self, caller: Caller) -> None:
        if self._trust.find_member(caller.fingerprint) is None:
            raise NotTrusted("no longer a member")


class AddressGate:
    """Lets anyone in, and tells callers apart by where they call from."""

    def admit(self, context: Any) -> Caller:
        return Caller(address_key(context.peer()), None, b"")

    def require_still(self, caller: Caller) -> None:
        """Anyone may go on."""


def address_key(peer: str) -> str:
    """The address in gRPC's name for a caller, without port; of IPv6 the network."""
    kind, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return kind
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, _IPV6_NETWORK_BITS), strict=False))


@lru_cache(maxsize=1024)
def _fingerprint(pem: bytes) -> bytes:
    try:
        return pem_fingerprint(pem)
    except (ValueError, UnicodeDecodeError) as error:
        raise NotTrusted("the certificate cannot be read") from error
