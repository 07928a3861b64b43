"""A peer's place in the network of one run: discovery, who is there, bulk plane, gossip."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from psyche_p2p.certificate import TlsCertificate
from psyche_p2p.config import RunConfig, load_run_config, run_id
from psyche_p2p.errors import ConfigError
from psyche_p2p.identity import Identity
from psyche_p2p.ids import RunId, Signature, Tier
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import BulkClient, Patience
from psyche_p2p.net.daemon import Daemon, DaemonConfig, DaemonDied, DaemonEvent
from psyche_p2p.net.discovery import Discovery
from psyche_p2p.net.multiaddr import Multiaddr
from psyche_p2p.net.relay.client import RelayUser
from psyche_p2p.net.relay.host import RelayPlace, best_host, relaying
from psyche_p2p.net.relay.paths import RelayPaths
from psyche_p2p.node.bulk_plane import BulkPlane
from psyche_p2p.node.directory import Directory
from psyche_p2p.node.entering import fetch_config, find_run
from psyche_p2p.node.home import Home
from psyche_p2p.node.namesakes import require_asked_for, require_no_namesake
from psyche_p2p.node.options import PeerOptions, Reached, join_host_port
from psyche_p2p.observe import events
from psyche_p2p.wire import PeerRecord
from psyche_p2p.wire.messages import Role

_ANY_HOST = ("0.0.0.0", "::")
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Network:
    """The peer's daemon and its place in the DHT."""

    daemon: Daemon
    discovery: Discovery

    async def multiaddrs(self) -> tuple[str, ...]:
        """Where the daemon can be reached, for others to use as bootstrap addresses."""
        addresses = await self.discovery.own_addresses()
        return tuple(f"{address}/p2p/{self.daemon.peer_id}" for address in addresses)


async def enter_network(
    stack: AsyncExitStack,
    options: PeerOptions,
    identity: Identity,
    emit: Callable[[events.Event], None],
) -> Network:
    """Start the daemon and reach the bootstrap peers."""

    def on_event(event: DaemonEvent) -> None:
        if isinstance(event, DaemonDied):
            emit(events.Restarted("daemon", event.last_line[:200] or f"exit {event.exit_code}"))

    listen = options.listen.libp2p
    announce = (listen_at(options),) if options.announce else ()
    config = DaemonConfig(
        identity,
        listen=(listen,),
        announce=announce,
        relay_service=options.relay,
        is_private=options.reach.how is Reached.RELAY,
    )
    daemon = await stack.enter_async_context(Daemon(config, on_event))
    discovery = await stack.enter_async_context(Discovery(daemon, options.bootstrap))
    network = Network(daemon, discovery)
    if options.relay:
        host = await _advertised_host(network, options)
        place = RelayPlace(options.listen.host, options.listen.relay_port, host)
        _, address = await stack.enter_async_context(relaying(identity.peer_id, discovery, place))
        _log.info("relaying for peers that nobody can dial", relay=str(address))
    return network


def listen_at(options: PeerOptions) -> Multiaddr:
    """The libp2p address to tell others, when the operator names the host."""
    return replace(options.listen, host=options.announce or options.listen.host).libp2p


def load_config(path: Path, wanted: str | None) -> RunConfig:
    """The configuration in an operator's file, if it is of the run that is wanted."""
    config = load_run_config(path)
    require_asked_for(config, wanted)
    return config


def require_supported(config: RunConfig) -> None:
    """A ConfigError if the run asks for what this version does not do."""
    if config.verification.verification_percent > 0:
        raise ConfigError(
            "this run wants batches verified by running them again, which this version cannot do",
            "set verification.verification_percent = 0, or use a newer version",
        )


async def require_own_run(
    network: Network,
    options: PeerOptions,
    directory_of: Callable[[RunId], Directory],
    config: RunConfig,
) -> None:
    """A ConfigError if the operator's file would begin a second run of a name that is taken."""
    is_chosen = options.run == run_id(config).hex()
    if options.bootstrap and not is_chosen and not Home(options.home).knows(run_id(config)):
        await require_no_namesake(network.discovery, directory_of, config)


async def find_config(
    network: Network, options: PeerOptions, directory_of: Callable[[RunId], Directory]
) -> RunConfig:
    """The run's configuration, from a peer that is in it."""
    wanted = await find_run(network.discovery, options.run)
    user = RelayUser(network.daemon.config.identity, wanted)
    async with (
        RelayPaths(user) as paths,
        BulkClient(None, Patience(), paths=paths) as client,
    ):
        config = await fetch_config(client, directory_of(wanted), wanted)
    _log.info("run found", name=config.run.name, run_id=wanted.hex())
    return config


async def announce(
    network: Network,
    options: PeerOptions,
    config: RunConfig,
    bulk: BulkPlane,
    own: TlsCertificate,
    emit: Callable[[events.Event], None],
) -> PeerRecord:
    """Publish where this peer can be asked, until further notice, and say so.

    A peer that nobody can dial says where once it knows a relay (node/reach.py).
    """
    host = await _advertised_host(network, options)
    can_be_dialled = options.reach.how is not Reached.RELAY
    record = PeerRecord(
        instance=secrets.randbits(62),
        roles=roles_of(options),
        tier=options.tier or Tier(0),
        addresses=await network.discovery.own_addresses(),
        bulk_addresses=(join_host_port(host, bulk.members.ports[0]),) * can_be_dialled,
        certificate=own.certificate_der,
        certificate_signature=Signature(own.signature),
        joiner_addresses=(join_host_port(host, bulk.joiners.ports[0]),) * can_be_dialled,
    )
    life_s = config.network.record_life_s
    await network.discovery.announce(run_id(config), record, life_s, config.run.name)
    await _report_started(network, options, record, emit)
    return record


async def _report_started(
    network: Network,
    options: PeerOptions,
    record: PeerRecord,
    emit: Callable[[events.Event], None],
) -> None:
    """Say where this peer can be found."""
    peer, addresses = network.daemon.peer_id, await network.multiaddrs()
    role: Literal["trainer", "witness"] = "witness" if options.is_witness else "trainer"
    emit(events.Started(peer, record.tier, role, addresses, record.bulk_addresses))
    _log.info("listening", peer=peer)
    if options.reach.how is Reached.RELAY:
        return  # nobody could use them
    for address in addresses:
        _log.info("others join with", bootstrap=address)


def roles_of(options: PeerOptions) -> tuple[Role, ...]:
    """What a peer does: everyone witnesses, and who has a tier trains."""
    return (Role.WITNESS,) if options.is_witness else (Role.TRAINER, Role.WITNESS)


async def _advertised_host(network: Network, options: PeerOptions) -> str:
    """The host to tell others: the operator's word, the one we listen on, or the daemon's guess."""
    if options.announce:
        return options.announce
    if options.listen.host not in _ANY_HOST:
        return options.listen.host
    _, addresses = await network.daemon.control.identify()
    return best_host(addresses)
