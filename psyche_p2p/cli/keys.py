"""`psyche-peer keys`: make and show a peer's identity."""

from __future__ import annotations

from pathlib import Path

import click

from psyche_p2p.identity import Identity
from psyche_p2p.keyfile import load_key, save_key


@click.group(epilog="Example: psyche-peer keys new --out peer.key")
def keys() -> None:
    """Make and show a peer's identity.

    An identity is one Ed25519 key in libp2p's file form. Its PeerId is the peer's name everywhere.
    """


@keys.command("new", epilog="Example: psyche-peer keys new --out peer.key")
@click.option(
    "--out",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Where to write the key (mode 0600). An existing file is never overwritten.",
)
def new(path: Path) -> None:
    """Make a new identity and print its PeerId."""
    identity = Identity.generate()
    save_key(identity, path)
    click.echo(identity.peer_id)


@keys.command("show", epilog="Example: psyche-peer keys show peer.key")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def show(path: Path) -> None:
    """Print the PeerId of the key in FILE."""
    click.echo(load_key(path).peer_id)
