"""What an operator tells one peer: everything that concerns this machine alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from psyche_p2p.errors import ConfigError
from psyche_p2p.ids import Tier
from psyche_p2p.net.multiaddr import Multiaddr, parse_multiaddr
from psyche_p2p.net.relay.address import RelayAddress, is_relay_address, parse_relay_address

_MEMBER_PORT_STEP, _JOINER_PORT_STEP, _RELAY_PORT_STEP = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a peer listens: a port for libp2p, the two after it for bulk, one more for a relay.

    Or any that are free, with port 0.
    """

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

    @property
    def relay_port(self) -> int:
        return self._port(_RELAY_PORT_STEP)

    def _at(self, step: int) -> str:
        return join_host_port(self.host, self._port(step))

    def _port(self, step: int) -> int:
        return self.port + step if self.port else 0


class Reached(Enum):
    """How others are to reach this machine's bulk plane."""

    AUTO = "auto"
    """As a test at the start finds out."""
    DIRECT = "direct"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class ReachChoice:
    """What the operator says about reaching this machine."""

    how: Reached = Reached.AUTO
    relay: RelayAddress | None = None
    """The only relay to use; None for whichever the network has."""


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
    reach: ReachChoice = ReachChoice()
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
        is_possible = 0 <= listen.port <= 65532 and bool(listen.libp2p)
    except ValueError as error:
        raise _bad_listen(text) from error
    if not is_possible:
        raise _bad_listen(text)
    return listen


def parse_reach(text: str) -> ReachChoice:
    """auto, direct, relay, or a relay's address; a ConfigError for anything else."""
    if is_relay_address(text):
        return ReachChoice(Reached.RELAY, parse_relay_address(text))
    try:
        return ReachChoice(Reached(text))
    except ValueError as error:
        known = ", ".join(one.value for one in Reached)
        raise ConfigError(
            f"--reach {text!r} means nothing",
            f"say one of {known}, or a relay's address: relay/HOST:PORT/PEER_ID",
        ) from error


def join_host_port(host: str, port: int) -> str:
    """As gRPC writes addresses."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bad_listen(text: str) -> ConfigError:
    return ConfigError(f"cannot listen on {text!r}", "write it like 0.0.0.0:4001 or 127.0.0.1")
