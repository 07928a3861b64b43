"""How p2pd is called: what a daemon is told, and the command line that says it."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from psyche_p2p.errors import ResourceError
from psyche_p2p.identity import Identity
from psyche_p2p.net import launch
from psyche_p2p.net.multiaddr import Multiaddr, parse_multiaddr

EVERY_ADDRESS = (parse_multiaddr("/ip4/0.0.0.0/tcp/0"), parse_multiaddr("/ip6/::/tcp/0"))
CONTROL_SOCKET = "control.sock"
KEY_FILE = "peer.key"
_MAX_SOCKET_PATH = 100  # sun_path has 108 bytes


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """What a daemon is told at its start."""

    identity: Identity = field(repr=False)
    listen: tuple[Multiaddr, ...] = EVERY_ADDRESS
    announce: tuple[Multiaddr, ...] = ()
    """Addresses to tell others instead of the machine's own: a router's, say."""
    port_mapping: bool = False
    """Ask the router to forward the port (UPnP, NAT-PMP)."""
    relay_service: bool = False
    """Carry traffic between peers that cannot reach each other."""
    relays: tuple[Multiaddr, ...] = ()
    """Relays to be reachable through."""
    is_private: bool = False
    """Take it as known that others cannot reach this machine."""
    reach_detection: bool = False
    """Find out from others whether this machine can be reached (AutoNAT)."""


def daemon_binary() -> Path:
    """p2pd inside the hivemind package, found without importing hivemind (and torch with it)."""
    spec = importlib.util.find_spec("hivemind")
    folders = spec.submodule_search_locations if spec is not None else None
    binary = Path(folders[0]) / "hivemind_cli" / "p2pd" if folders else Path("p2pd")
    if not os.access(binary, os.X_OK):
        raise ResourceError(
            f"the libp2p daemon is missing ({binary})", "install the hivemind package again"
        )
    return binary


def daemon_command(config: DaemonConfig, listen: tuple[Multiaddr, ...], folder: Path) -> list[str]:
    """The command that becomes p2pd, by way of net/launch.py."""
    options = {
        "listen": f"/unix{folder}/{CONTROL_SOCKET}",
        "id": str(folder / KEY_FILE),
        "hostAddrs": _joined(listen),
        "pubsub": "1",
        "pubsubRouter": "gossipsub",
        "pubsubSign": "1",
        "pubsubSignStrict": "1",
        "gossipsubHeartbeatInterval": "1s",
        "gossipsubHeartbeatInitialDelay": "100ms",
        "dhtServer": "0" if config.is_private else "1",
        "dhtClient": "1" if config.is_private else "0",
        "connManager": "1",
        "natPortMap": str(int(config.port_mapping)),
        "autonat": str(int(config.reach_detection)),
        "relay": "1",
        "relayService": str(int(config.relay_service)),
        "forceReachabilityPrivate": str(int(config.is_private)),
    }
    if config.announce:
        options["announceAddrs"] = _joined(config.announce)
    if config.relays:  # relayDiscovery would first feed candidates after 15 s
        options |= {
            "autoRelay": "1",
            "relayDiscovery": "0",
            "trustedRelays": _joined(config.relays),
        }
    launcher = [sys.executable, "-I", "-S", str(launch.__file__), str(os.getpid())]
    flags = [f"-{name}={value}" for name, value in options.items()]
    return [*launcher, str(daemon_binary()), *flags]


def _joined(addresses: tuple[Multiaddr, ...]) -> str:
    return ",".join(str(address) for address in addresses)


def make_private_folder() -> Path:
    """A new folder of mode 0700 with a path short enough for a socket: the socket has no lock."""
    try:
        folder = tempfile.mkdtemp(prefix="psyche-")
        if len(folder) > _MAX_SOCKET_PATH - len(CONTROL_SOCKET) - 1:
            Path(folder).rmdir()
            folder = tempfile.mkdtemp(prefix="psyche-", dir="/tmp")
    except OSError as error:
        raise ResourceError(
            f"no folder for the daemon's control socket: {error.strerror}",
            "set TMPDIR to a folder you may write",
        ) from error
    return Path(folder)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
