"""How a command finds a run: options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from psyche_p2p.net.multiaddr import EXAMPLE, Multiaddr, require_peer_address

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def bootstrap_option(*, required: bool = False) -> Callable[[CommandT], CommandT]:
    """--bootstrap ADDRESS, any number of times."""
    return click.option(
        "--bootstrap",
        multiple=True,
        required=required,
        metavar="ADDRESS",
        help=f"A peer of the network, such as {EXAMPLE}; may be given several times.",
    )


def run_option() -> Callable[[CommandT], CommandT]:
    """--run NAME|ID."""
    return click.option(
        "--run", metavar="NAME|ID", help="Which run. Default: the only one of the network."
    )


def parse_bootstrap(addresses: tuple[str, ...]) -> tuple[Multiaddr, ...]:
    """A ConfigError names the address that is none."""
    return tuple(require_peer_address(text) for text in addresses)
