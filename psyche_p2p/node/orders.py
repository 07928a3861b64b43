"""The owner's word: signed, gossiped again and again, until the log holds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from psyche_p2p.clock import Clock
from psyche_p2p.config import RunConfig
from psyche_p2p.coordinator import State, apply_obey
from psyche_p2p.coordinator.signed import trust
from psyche_p2p.errors import Rejected, Unavailable
from psyche_p2p.identity import Identity
from psyche_p2p.ids import Height, Signature
from psyche_p2p.log import get_logger
from psyche_p2p.net.gatekeeper import Judgement, ignore
from psyche_p2p.net.gossip import Gossip
from psyche_p2p.node.visiting import Visitor
from psyche_p2p.wire import Envelope, open_envelope, seal
from psyche_p2p.wire.commands import Obey
from psyche_p2p.wire.messages import OwnerAction, OwnerOrder

_LOOK_S = 0.5
_SAY_AGAIN_S = 2.0
_NO_SIGNATURE = Signature(bytes(64))
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Obeyed:
    """The order is in the log."""

    height: Height
    """Of the block that holds it."""
    state: State
    """At the end of the log as it is known by now."""


def require_owner(config: RunConfig, key: Identity) -> None:
    """Rejected, with the reason, unless this key's word counts in the run."""
    owner = config.run.owner
    if not owner:
        raise Rejected(
            f"run {config.run.name} has no owner",
            "only run.owner in its configuration gives it one",
        )
    if key.peer_id != owner:
        raise Rejected(
            f"the key is of {key.peer_id}, run {config.run.name} obeys {owner} alone",
            "give the owner's key with --key",
        )


async def give_order(
    visitor: Visitor, key: Identity, action: OwnerAction, clock: Clock, wait_s: float
) -> Obeyed:
    """Have the run pause or resume; Rejected if it would not, Unavailable if nobody decides it."""
    require_owner(visitor.config, key)
    state = await visitor.look()
    if state is None:
        raise Unavailable("the run has not begun", "wait until its founders are there")
    order = OwnerOrder(action, max(state.owner_nonce + 1, clock.time_ms()))
    apply_obey(state, Obey(order, _NO_SIGNATURE), trust)  # says why it would change nothing
    envelope = open_envelope(seal(order, visitor.run_id, key), visitor.run_id)
    async with Gossip(visitor.daemon, key, visitor.run_id, _deaf) as gossip:
        return await _insist(visitor, gossip, envelope, wait_s)


async def _insist(visitor: Visitor, gossip: Gossip, envelope: Envelope, wait_s: float) -> Obeyed:
    """Say it until a block that holds it is decided."""
    order: OwnerOrder = envelope.message
    found: list[Height] = []

    def note(state: State) -> None:
        if state.owner_nonce == order.nonce and not found:
            found.append(state.height)

    clock = asyncio.get_running_loop().time
    give_up_at, said_at = clock() + wait_s, float("-inf")
    while True:
        if clock() - said_at >= _SAY_AGAIN_S and await _is_heard(visitor, gossip):
            said_at = clock()
            await gossip.pass_on(envelope.raw)
        state = await visitor.look(note)
        if found and state is not None:
            return Obeyed(found[0], state)
        if state is not None and state.owner_nonce > order.nonce:
            raise Rejected("a newer order of the owner overtook this one", "look at: run status")
        if clock() >= give_up_at:
            raise Unavailable(
                f"the log does not hold the order after {wait_s:.0f} s",
                "it was said and may still be obeyed: look at psyche-peer run status",
            )
        await asyncio.sleep(_LOOK_S)


async def _is_heard(visitor: Visitor, gossip: Gossip) -> bool:
    """Whether somebody of the run is connected; connects to some of its peers if not."""
    try:
        if await gossip.peers():
            return True
        await visitor.discovery.meet(visitor.run_id)
        return bool(await gossip.peers())
    except Unavailable as error:
        _log.debug("not connected yet", cause=str(error))
        return False


def _deaf(_envelope: Envelope) -> Judgement:
    return ignore("whoever only gives an order listens to nobody")
