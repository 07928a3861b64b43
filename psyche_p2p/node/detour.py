"""The way round for a peer that nobody can dial: through a relay that was tried, and announced.

One relay at a time. When it is lost for longer than a restart takes, the next one is tried; each
change is one line, and a new record in the DHT.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from psyche_p2p.errors import PsycheError
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import PeerId, RunId, public_key_from_peer_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.relay.address import RelayAddress, parse_relay_address
from psyche_p2p.net.relay.client import LocalDoors, RelayListener, RelayUser
from psyche_p2p.net.relay.trial import try_relay
from psyche_p2p.wire import PeerRecord

REGISTER_S = 10.0
LOST_AFTER_S = 10.0
"""A relay that is started again within this is waited for."""
TRY_AGAIN_S = 300.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_log = get_logger(__name__)


class Announcements(Protocol):
    """The part of discovery that this needs."""

    async def find_relays(self) -> tuple[str, ...]:
        """Addresses of relays."""

    async def revise(self, run_id: RunId, record: PeerRecord) -> None:
        """Publish another record of this peer."""


class Detour:
    """Keeps this peer reachable through a relay while `run` runs."""

    def __init__(
        self,
        user: RelayUser,
        discovery: Announcements,
        record: PeerRecord,
        doors: LocalDoors,
        relay: RelayAddress | None,
        preferred: frozenset[PeerId],
    ) -> None:
        """What `record` says holds when this peer can be dialled.

        `relay` is the only one to use; `preferred` are those whose relays are tried first.
        """
        self._user = user
        self._discovery = discovery
        self._record = record
        self._doors = doors
        self._relay = relay
        self._preferred = preferred
        self._said = ""

    async def run(self) -> None:
        """Be at one relay or on the way to one, until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            relays = await self._find_relays()
            if relays == [] and pause_s > _FIRST_PAUSE_S:
                self._say("no relay is known: who cannot dial this machine fetches nothing from it")
            for relay in relays or ():
                if await self._stay_at(relay):
                    pause_s = _FIRST_PAUSE_S
                    break  # there may be others by now
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def end(self) -> None:
        """Say that this machine can be dialled after all."""
        await self._discovery.revise(self._user.run_id, self._record)
        _log.info("others dial this machine, and need no relay any more")

    async def _stay_at(self, relay: RelayAddress) -> bool:
        """Whether the relay took us; returns when it is lost."""
        async with RelayListener(self._user, relay, self._doors) as listener:
            try:
                await asyncio.wait_for(listener.is_listening.wait(), REGISTER_S)
            except asyncio.TimeoutError:
                self._warn("a relay is no help", relay, listener.last_problem)
                return False
            if not await self._carries(relay):
                return False
            here = (str(relay),)
            record = replace(self._record, bulk_addresses=here, joiner_addresses=here)
            await self._discovery.revise(self._user.run_id, record)
            _log.info("others reach this machine through a relay", relay=str(relay))
            self._said = ""
            await self._until_useless(listener, relay)
            return True

    async def _until_useless(self, listener: RelayListener, relay: RelayAddress) -> None:
        """Wait until the relay is lost, or does not carry enough any more."""
        lost = asyncio.create_task(listener.lost(LOST_AFTER_S))
        try:
            while not lost.done():
                await asyncio.wait({lost}, timeout=TRY_AGAIN_S)
                if listener.is_listening.is_set() and not await self._carries(relay):
                    return
        finally:
            lost.cancel()
        self._warn("the relay is lost, looking for one", relay, listener.last_problem)

    def _warn(self, what: str, relay: RelayAddress, cause: str) -> None:
        """Once, and not each time that the same is tried and fails again."""
        self._say(what, relay=str(relay), cause=cause)

    def _say(self, what: str, **details: str) -> None:
        line = f"{what} {details}"
        if line != self._said:
            self._said = line
            _log.warning(what, **details)

    async def _carries(self, relay: RelayAddress) -> bool:
        verdict = await try_relay(self._user, relay)
        if not verdict.is_trusted:
            self._warn("a relay is no help", relay, str(verdict))
        return verdict.is_trusted

    async def _find_relays(self) -> list[RelayAddress] | None:
        """Those to try, our bootstrap peers' first, the others differently for each peer.

        None if that cannot be told now.
        """
        if self._relay is not None:
            return [self._relay]
        try:
            found = [parse_relay_address(text) for text in await self._discovery.find_relays()]
        except PsycheError as error:
            _log.debug("no relays can be looked for", cause=str(error))
            return None
        own = public_key_from_peer_id(self._user.identity.peer_id)
        others = [one for one in found if one.peer != self._user.identity.peer_id]

        def rank(one: RelayAddress) -> tuple[bool, bytes]:
            key = public_key_from_peer_id(one.peer)
            return one.peer not in self._preferred, hash_parts("relay choice", own, key)

        return sorted(others, key=rank)
