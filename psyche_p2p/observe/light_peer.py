"""A peer in pure Python that only listens: py-libp2p's gossipsub with the safeguards it needs.

It is the second, independent implementation of the gossip plane. Nothing else imports this module:
py-libp2p and hivemind cannot live in one process (both register `crypto.pb.KeyType`). What 0.8.1
does not withstand by itself: a frame that is not protobuf, or any exception in a stream handler,
ends the whole host; its defaults drop everything above ten messages a second and look after the
mesh every two minutes; it never dials again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import libp2p.pubsub.pubsub as libp2p_pubsub
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr as Libp2pMultiaddr

from psyche_p2p.identity import Identity
from psyche_p2p.log import get_logger
from psyche_p2p.net.multiaddr import Multiaddr

REDIAL_S = 2.0
RESTART_S = 1.0
SUBSCRIPTION_MESSAGES = 4096  # of the library's 32, the rest is lost
_PROTOCOLS = [TProtocol(str(PROTOCOL_ID_V11))]  # what the go daemon speaks as well
_LISTEN = "/ip4/127.0.0.1/tcp/0"
_log = get_logger(__name__)

OnMessage = Callable[[bytes], None]
StreamHandler = Callable[[Any], Awaitable[None]]


class LightPeer:
    """Listens to one topic through the peers it is given."""

    def __init__(
        self, identity: Identity, topic: str, peers: Sequence[Multiaddr], on_message: OnMessage
    ) -> None:
        self._identity = identity
        self._topic = topic
        self._peers = tuple(peers)
        self._on_message = on_message
        self._bug: Exception | None = None
        self.crashes = 0
        """How often the host ended by itself and was started again."""

    async def run(self) -> None:
        """Listen until cancelled. What our callback raises comes out; what the library does not."""
        logging.getLogger("libp2p").setLevel(logging.CRITICAL)
        libp2p_pubsub.SUBSCRIPTION_CHANNEL_SIZE = SUBSCRIPTION_MESSAGES
        while True:
            try:
                await self._run_host()
            except Exception as error:
                if self._bug is not None:
                    raise self._bug from error
                self.crashes += 1
                _log.warning("the libp2p host ended and is started again", cause=repr(error)[:200])
            await trio.sleep(RESTART_S)

    async def _run_host(self) -> None:
        host = new_host(key_pair=create_new_key_pair(self._identity.seed))
        router = GossipSub(
            _PROTOCOLS,
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=1,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
            adaptive_gossip_enabled=False,
        )
        pubsub = Pubsub(host, router, strict_signing=True)
        for protocol in _PROTOCOLS:
            host.set_stream_handler(protocol, _guarded(pubsub))
        async with (
            host.run(listen_addrs=[Libp2pMultiaddr(_LISTEN)]),
            background_trio_service(pubsub),
            background_trio_service(router),
            trio.open_nursery() as nursery,
        ):
            await pubsub.wait_until_ready()
            nursery.start_soon(self._keep_connected, host)
            await self._listen(await pubsub.subscribe(self._topic))

    async def _listen(self, subscription: Any) -> None:
        async for message in subscription:
            try:
                self._on_message(message.data)
            except Exception as error:
                self._bug = error
                raise

    async def _keep_connected(self, host: Any) -> None:
        """Dial whoever is not connected, again and again."""
        while True:
            connected = {str(peer) for peer in host.get_connected_peers()}
            for address in self._peers:
                if address.peer not in connected:
                    await _dial(host, address)
            await trio.sleep(REDIAL_S)


async def _dial(host: Any, address: Multiaddr) -> None:
    try:
        await host.connect(info_from_p2p_addr(Libp2pMultiaddr(str(address))))
        _log.info("connected", peer=address.peer)
    except Exception as error:  # noqa: BLE001 - a peer's bytes decide what is raised here
        _log.debug("cannot connect", address=str(address), cause=repr(error)[:200])


def _guarded(pubsub: Any) -> StreamHandler:
    """The pubsub's stream handler, unable to take the host with it."""

    async def handle(stream: Any) -> None:
        try:
            await pubsub.stream_handler(stream)
        except Exception as error:  # noqa: BLE001 - a peer's bytes decide what is raised here
            peer = stream.muxed_conn.peer_id
            _log.warning(
                "a peer's gossip stream is dropped", peer=str(peer), cause=repr(error)[:200]
            )
            await stream.reset()
            pubsub._handle_dead_peer(peer)

    return handle
