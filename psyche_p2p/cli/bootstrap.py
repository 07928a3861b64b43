"""`psyche-peer bootstrap`: a peer that others find the network through."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from psyche_p2p.cli.signals import until_told_to_stop
from psyche_p2p.errors import ConfigError
from psyche_p2p.identity import Identity
from psyche_p2p.keyfile import load_key
from psyche_p2p.log import get_logger
from psyche_p2p.net.daemon import EVERY_ADDRESS, Daemon, DaemonConfig, DaemonDied, DaemonEvent
from psyche_p2p.net.multiaddr import EXAMPLE, Multiaddr, require_address, require_peer_address

if TYPE_CHECKING:
    from psyche_p2p.net.discovery import Discovery

REPORT_S = 60.0
_log = get_logger(__name__)


@click.command(
    epilog="Example: psyche-peer bootstrap --key seed.key --listen /ip4/0.0.0.0/tcp/4001"
)
@click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The identity (psyche-peer keys new). Without it, a new one every time.",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="Where to listen; may be given several times. Default: every address, a free port.",
)
@click.option(
    "--announce",
    multiple=True,
    metavar="ADDRESS",
    help="The address others should use, when it is not the machine's own (behind a router).",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="ADDRESS",
    help=f"Another bootstrap peer, such as {EXAMPLE}; may be given several times.",
)
@click.option("--relay", is_flag=True, help="Carry traffic between peers that nobody can dial.")
@click.option(
    "--relay-port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Where to relay blobs, for --relay. Default: a free port.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON object.")
def bootstrap(
    key_path: Path | None,
    listen: tuple[str, ...],
    announce: tuple[str, ...],
    peers: tuple[str, ...],
    relay: bool,
    relay_port: int,
    as_json: bool,
) -> None:
    """Run a peer that others find the network through, until it is told to stop.

    It belongs to no run, keeps no data but the DHT's, and prints the addresses to give to others.
    Exit code 6: none of the --peer addresses can be reached. 10: a port is taken, or the clock is
    wrong. 3: an address that means nothing.
    """
    config = DaemonConfig(
        identity=load_key(key_path) if key_path else Identity.generate(),
        listen=tuple(require_address(text) for text in listen) or EVERY_ADDRESS,
        announce=tuple(_require_announceable(text) for text in announce),
        relay_service=relay,
    )
    others = tuple(require_peer_address(text) for text in peers)
    asyncio.run(until_told_to_stop(_serve(config, others, relay_port, as_json)))


def _require_announceable(text: str) -> Multiaddr:
    address = require_address(text)
    if address.port == 0:
        raise ConfigError(
            f"--announce {text}: nobody can dial port 0",
            "announce the port that is forwarded here, and --listen at that one",
        )
    return address


async def _serve(
    config: DaemonConfig, peers: tuple[Multiaddr, ...], relay_port: int, as_json: bool
) -> None:
    # hivemind takes a moment to import: --help and mistakes do not wait for it
    from psyche_p2p.net.discovery import Discovery

    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(Daemon(config, _on_event))
        discovery = await stack.enter_async_context(Discovery(daemon, peers))
        _, addresses = await daemon.control.identify()
        lines = [f"{address}/p2p/{daemon.peer_id}" for address in addresses]
        relay = None
        if config.relay_service:
            relay = await _relay(stack, config, discovery, addresses, relay_port)
        if as_json:
            said = {"peer_id": daemon.peer_id, "addresses": lines, "relay": relay}
            lines = [json.dumps(said)]
        for line in lines:
            click.echo(line)
        _log.info("ready", peer=daemon.peer_id, relay=relay or "none")
        await _report(daemon)


async def _relay(
    stack: AsyncExitStack,
    config: DaemonConfig,
    discovery: Discovery,
    addresses: tuple[Multiaddr, ...],
    port: int,
) -> str:
    """Carry blobs from now on; where."""
    from psyche_p2p.net.relay.host import RelayPlace, best_host, relaying

    public_host = config.announce[0].host if config.announce else best_host(addresses)
    place = RelayPlace(config.listen[0].host, port, public_host)
    peer = config.identity.peer_id
    _, address = await stack.enter_async_context(relaying(peer, discovery, place))
    return str(address)


def _on_event(event: DaemonEvent) -> None:
    if isinstance(event, DaemonDied):
        _log.warning("starting the libp2p daemon again", exit_code=event.exit_code)


async def _report(daemon: Daemon) -> None:
    """Say now and then that all is well."""
    while True:
        await asyncio.sleep(REPORT_S)
        if daemon.is_running:
            connected = await daemon.control.connected_peers()
            _log.info("serving", connected=len(connected), daemon_restarts=daemon.restarts)
