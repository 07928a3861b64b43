"""What an operator tells one peer: everything that concerns this machine alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from psyche_p2p.errors import ConfigError
from psyche_p2p.ids import Tier
from psyche_p2p.net.multiaddr import Multiaddr, parse_multiaddr

_MEMBER_PORT_STEP, _JOINER_PORT_STEP = 1, 2


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a peer listens: a port for libp2p and the two after it for bulk, or any three."""

    host: str
    port: int

    @property
    def libp2p(self) -> Multiaddr:
        family = "ip6" if ":" in self.host else "ip4"
        return parse_multiaddr(f"/{family}/{self.host}/tcp/{self.port}")

    @property
    def members(self) -> str:
        return self._at(_MEMBER_PORT_STEP)

    @property
    def joiners(self) -> str:
        return self._at(_JOINER_PORT_STEP)

    def _at(self, step: int) -> str:
        return join_host_port(self.host, self.port + step if self.port else 0)


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """How one peer runs."""

    home: Path
    bootstrap: tuple[Multiaddr, ...]
    run: str | None
    """The run's name or id; None for the only one of the network."""
    run_file: Path | None
    """The run's configuration, for a peer that begins it."""
    tier: Tier | None
    """None for a witness, which has no model."""
    listen: Listen
    announce: str | None
    """The host that others should use, if it is not one of this machine's own."""
    events: Path
    data_dir: Path | None
    checkpoint: Path | None = None
    """What a run begins with that goes on from another; the first peers of it need it."""
    device: str = "auto"
    threads: int = 0
    micro_batch: int = 0
    compile: bool = False
    store_bytes: int = 16 << 30
    parameters_bytes_per_s: float = math.inf
    """How fast newcomers, all together, may take the parameters from this peer."""
    upload: str | None = None
    """The repository on a hub that gets this peer's checkpoints."""
    relay: bool = False
    """Carry others' traffic as well."""
    trainer_command: tuple[str, ...] = ()
    """What trains instead of our trainer: for tests and benchmarks."""

    @property
    def is_witness(self) -> bool:
        return self.tier is None


def parse_listen(text: str) -> Listen:
    """HOST, HOST:PORT or [HOST]:PORT; a ConfigError for anything else."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket:
            raise _bad_listen(text)
        port = port.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    try:
        listen = Listen(host, int(port or 0))
        is_possible = 0 <= listen.port <= 65533 and bool(listen.libp2p)
    except ValueError as error:
        raise _bad_listen(text) from error
    if not is_possible:
        raise _bad_listen(text)
    return listen


def join_host_port(host: str, port: int) -> str:
    """As gRPC writes addresses."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bad_listen(text: str) -> ConfigError:
    return ConfigError(f"cannot listen on {text!r}", "write it like 0.0.0.0:4001 or 127.0.0.1")
