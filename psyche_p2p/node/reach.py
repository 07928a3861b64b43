"""Whether others can reach this machine, and how: found out at the start, mended through a relay.

One line says what two peers found that were asked to dial us. Where that is bad news, or the
operator says so, the peer keeps nothing for the DHT and has others come through a relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from psyche_p2p.certificate import TlsCertificate
from psyche_p2p.ids import BlobHash
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import Contact, require_direct
from psyche_p2p.net.dial_back import ask_over_grpc, find_reachability
from psyche_p2p.net.discovery import Discovery
from psyche_p2p.net.reachability import AGREEING_ANSWERS, Reach, Reachability
from psyche_p2p.net.relay.address import is_relay_address
from psyche_p2p.net.relay.client import RelayUser
from psyche_p2p.node.bulk_plane import BulkPlane
from psyche_p2p.node.detour import Detour
from psyche_p2p.node.directory import Directory
from psyche_p2p.node.options import PeerOptions, Reached
from psyche_p2p.wire import PeerRecord
from psyche_p2p.wire.reachability import DialBackReport, DialBackRequest

_PATIENCE_S = 60.0
_TEST_AGAIN_S = {Reach.UNREACHABLE: 600.0, Reach.UNKNOWN: 60.0}
_log = get_logger(__name__)


class SelfTest:
    """Asks peers to dial us back."""

    def __init__(self, directory: Directory, fingerprint: bytes, port: int) -> None:
        self._directory = directory
        self._request = DialBackRequest(BlobHash(fingerprint), (port,))
        self._port = port

    async def run(self) -> Reachability | None:
        """What they found; None while nobody is there. One line says it."""
        helpers = await self._wait_for_helpers()
        if not helpers:
            return None
        found = await find_reachability(helpers, self._ask, self._port)
        say = _log.warning if found.reach is Reach.UNREACHABLE else _log.info
        say("reachability", verdict=found.reach.value, why=str(found))
        return found

    async def _ask(self, helper: Contact) -> DialBackReport:
        require_direct(helper)
        return await ask_over_grpc(helper, self._request)

    async def _wait_for_helpers(self) -> list[Contact]:
        """Two peers that we can dial, or however many there are when patience ends."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._directory.find_doors(AGREEING_ANSWERS), _PATIENCE_S)
        doors = self._directory.open_doors().values()
        # who is reached through a relay itself sees us come from its own machine
        return sorted(doors, key=lambda door: is_relay_address(door.address))


async def reaching(
    options: PeerOptions,
    user: RelayUser,
    record: PeerRecord,
    discovery: Discovery,
    directory: Directory,
    bulk: BulkPlane,
    own: TlsCertificate,
) -> None:
    """Have others reach this machine, through our bootstrap peers' relays first if at all."""
    test = SelfTest(directory, own.fingerprint, bulk.members.ports[0])
    known = frozenset(one.peer for one in options.bootstrap if one.peer is not None)
    detour = Detour(user, discovery, record, bulk.doors, options.reach.relay, known)
    await stay_reachable(options, test, detour, discovery.become_client)


async def stay_reachable(
    options: PeerOptions,
    test: SelfTest,
    detour: Detour,
    become_client: Callable[[], Awaitable[None]],
) -> None:
    """Have others reach this machine, for as long as this runs.

    Who relays for others is told to be dialled by them: bad news changes nothing.
    """
    how = Reached.DIRECT if options.relay else options.reach.how
    if how is Reached.RELAY:
        await detour.run()
        return
    found = await test.run()
    if how is Reached.DIRECT:
        return
    if found is None:
        _log.info("nobody is there yet to tell whether this machine can be reached")
    while found is None:
        found = await test.run()
    if not found.needs_relay:
        return
    if found.reach is Reach.UNREACHABLE:
        await become_client()
    going = asyncio.create_task(detour.run(), name="detour")
    try:
        await _until_reachable(test, found, going)
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
    await detour.end()


async def _until_reachable(
    test: SelfTest, found: Reachability | None, going: asyncio.Task[None]
) -> None:
    """Test again now and then; what the detour cannot bear is raised here."""
    pause_s = 0.0
    while found is None or found.needs_relay:
        pause_s = pause_s if found is None else _TEST_AGAIN_S[found.reach]
        await asyncio.wait({going}, timeout=pause_s)
        if going.done():
            going.result()
        found = await test.run()
