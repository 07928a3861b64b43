"""hivemind's Kademlia over our daemon: the one place that knows hivemind.

hivemind does not notice that a daemon has died and waits for ever; here everything is abandoned
when that happens.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import PeerId
from psyche_p2p.net import hivemind_parts
from psyche_p2p.net.control import daemon_gone
from psyche_p2p.net.records import RecordValidator

DHTNode = hivemind_parts.load("hivemind.dht.node").DHTNode
_p2p = hivemind_parts.load("hivemind.p2p")
dht_pb2 = hivemind_parts.load("hivemind.proto.dht_pb2")
use_hivemind_log_handler = hivemind_parts.load("hivemind.utils.logging").use_hivemind_log_handler
HivemindMultiaddr = hivemind_parts.load("hivemind.utils.multiaddr").Multiaddr
P2P, PeerID = _p2p.P2P, _p2p.PeerID

CALL_TIMEOUT_S = 15.0
RPC_TIMEOUT_S = 3.0
_NEVER_SUFFICIENT = math.nan
T = TypeVar("T")


class Dht:
    """One node of the DHT; lives as long as one daemon does."""

    def __init__(self, node: Any, p2p: Any) -> None:
        self._node = node
        self._p2p = p2p
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        control = p2p._client.control
        for task in (control._read_task, control._write_task):
            task.add_done_callback(_forget)

    @classmethod
    async def start(
        cls, control_socket: Path, validator: RecordValidator, *, is_client: bool = False
    ) -> Dht:
        """Become a node over the daemon behind a control socket; knows nobody yet.

        A client keeps nothing for others: right for a peer that they cannot reach.
        """
        use_hivemind_log_handler("nowhere")  # our own lines say what matters
        address = HivemindMultiaddr(f"/unix{control_socket}")
        try:
            p2p = await asyncio.wait_for(P2P.replicate(address), CALL_TIMEOUT_S)
            node = await asyncio.wait_for(
                DHTNode.create(
                    p2p=p2p,
                    record_validator=validator,
                    client_mode=is_client,
                    wait_timeout=RPC_TIMEOUT_S,
                    cache_locally=False,
                    cache_nearest=0,
                    cache_on_store=False,
                    cache_refresh_before_expiry=0,
                    reuse_get_requests=False,
                ),
                CALL_TIMEOUT_S,
            )
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            raise daemon_gone() from error
        return cls(node, p2p)

    async def meet(self, peer: PeerId) -> float:
        """Learn of a connected peer, and it of us; its clock in seconds. Unavailable if silent."""
        try:
            return await self._unless_gone(self._meet(PeerID.from_base58(peer)))
        except Unavailable as error:
            raise Unavailable(f"peer {peer} is not in the DHT: {error.cause}") from error

    async def _meet(self, peer: Any) -> float:
        protocol = self._node.protocol
        request = dht_pb2.PingRequest(peer=protocol.node_info, validate=False)
        answer = await protocol.get_stub(peer).rpc_ping(request, timeout=RPC_TIMEOUT_S)
        await protocol.call_ping(peer)
        return float(answer.dht_time)

    async def retire(self) -> None:
        """Answer nobody any more; a node that is only a client takes our place.

        Abandoned later, with the daemon: closing this node's connection to it would end it.
        """
        protocol = self._node.protocol
        if not protocol.client_mode:
            protocol.client_mode = True
            await self._unless_gone(protocol.remove_p2p_handlers(self._p2p))

    async def explore(self) -> None:
        """Meet the nodes nearest to us, so that others find us and hand us what we should keep."""
        await self._unless_gone(self._node.find_nearest_nodes([self._node.node_id]))

    async def store(self, key: str, subkey: bytes, value: bytes, expires_at_s: float) -> bool:
        """Write an entry; False if a later one is there already or nobody takes it."""
        stored = self._node.store(key, value, expiration_time=expires_at_s, subkey=subkey)
        return bool(await self._unless_gone(stored))

    async def get(self, key: str) -> dict[bytes, tuple[bytes, float]]:
        """Every live entry under a key: subkey to (value, expiry)."""
        # Not `latest`: that search ends with the first node that claims an infinite expiry.
        search = self._node.get_many([key], sufficient_expiration_time=_NEVER_SUFFICIENT)
        found = (await self._unless_gone(search))[key]
        entries = found.value if found is not None and isinstance(found.value, dict) else {}
        return {subkey: (entry.value, entry.expiration_time) for subkey, entry in entries.items()}

    def abandon(self) -> None:
        """End everything that runs: the daemon has died, or is about to be stopped."""
        if not self._gone.done():
            self._gone.set_result(None)
        self._node.is_alive = False
        control = self._p2p._client.control
        for call in list(control._pending_calls.values()):
            if not call.done():
                call.set_exception(ConnectionError("the daemon is gone"))
        control.call_unary_handler = _refuse  # what hivemind still has in the air ends as well
        control.close()

    async def _unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """The result, or Unavailable at once when the daemon goes."""
        task = asyncio.ensure_future(work)
        waited: set[asyncio.Future[Any]] = {task, self._gone}
        try:
            await asyncio.wait(waited, timeout=CALL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            is_done = task.done()
        finally:
            task.cancel()
        if not is_done:
            raise daemon_gone() if self._gone.done() else Unavailable("the DHT is silent")
        return _result_of(task)


def _result_of(task: asyncio.Future[T]) -> T:
    """What hivemind returned; what it raised has no common kind, and becomes ours here."""
    error = task.exception()
    if error is None or isinstance(error, Unavailable):
        return task.result()
    raise Unavailable(f"the DHT failed: {error!r}"[:300]) from error


async def _refuse(*_: object) -> bytes:
    raise ConnectionError("the daemon is gone")


def _forget(task: asyncio.Future[None]) -> None:
    """Look at a task's error, so that asyncio does not report it: the supervisor already has."""
    if not task.cancelled():
        task.exception()
