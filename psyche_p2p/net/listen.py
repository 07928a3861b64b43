"""Finds out, before the daemon starts, whether it can listen where it is told to.

The daemon shares a TCP port with any other daemon of the same user (SO_REUSEPORT) and is content
when one of its addresses works, so a taken port would go unnoticed. Ports left to the system are
chosen here, so that a restarted daemon comes back at the same ones.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from psyche_p2p.errors import ConfigError, ResourceError
from psyche_p2p.net.multiaddr import Multiaddr

_FAMILIES = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6}
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
_EVERY_ADDRESS = "/ip4/0.0.0.0/tcp/0 or /ip6/::/tcp/0"


def reserve_ports(addresses: Sequence[Multiaddr]) -> tuple[Multiaddr, ...]:
    """The addresses with every port 0 replaced by a free one.

    An address this machine does not have is left out as long as another remains, so that the
    default serves machines with IPv4 only, IPv6 only, and both.
    """
    reserved: list[Multiaddr] = []
    missing: list[Multiaddr] = []
    for address in addresses:
        port = _free_port(address)
        (missing if port is None else reserved).append(address.with_port(port or 0))
    if not reserved:
        named = ", ".join(str(address) for address in missing) or "nothing"
        raise ConfigError(
            f"this machine has none of the addresses to listen on ({named})",
            f"listen on {_EVERY_ADDRESS}",
        )
    return tuple(reserved)


def _free_port(address: Multiaddr) -> int | None:
    """The port that can be had at an address; None if this machine has no such address."""
    (family, host), (transport, _) = address.parts[:2]
    if family not in _FAMILIES:
        raise ConfigError(f"{address} is a name, not an address to listen on", _EVERY_ADDRESS)
    try:
        with socket.socket(_FAMILIES[family], _KINDS[transport]) as probe:
            if transport == "tcp":  # connections of a former owner may linger
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == "ip6":  # as the daemon does, so that both families can have one port
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, address.port))
            port: int = probe.getsockname()[1]
            return port
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise _translated(address, error) from error


def _translated(address: Multiaddr, error: OSError) -> ResourceError:
    port = address.port
    if error.errno == errno.EADDRINUSE:
        return ResourceError(
            f"port {port} of {address.host} is taken",
            "stop the program that holds it, or listen on another port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ResourceError(f"no right to listen on port {port}", "choose a port above 1023")
    return ResourceError(f"cannot listen on {address}: {error.strerror}", _EVERY_ADDRESS)
