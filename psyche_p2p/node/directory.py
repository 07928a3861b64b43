"""Whom we know in the run, where they can be asked, and who of them is trusted.

Addresses and certificates come from the DHT, membership from the log; a member's certificate counts
only if it is the one that its own join names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from psyche_p2p.coordinator import State
from psyche_p2p.errors import PsycheError, RemoteError
from psyche_p2p.ids import PeerId, RunId, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.discovery import Discovery
from psyche_p2p.net.records import FoundPeer
from psyche_p2p.net.tls import MemberTrust, PinnedCertificate, pin_certificate
from psyche_p2p.wire import Join
from psyche_p2p.wire.records import MemberStatus

_CALM_S = 10.0
_PATIENT_LOOKS = 5
_HURRY_S = 1.0  # while someone who is trusted has not been found
# A dropped member still follows the run; an ejected one is no longer answered.
_TRUSTED = frozenset(MemberStatus) - {MemberStatus.EJECTED}
_log = get_logger(__name__)


class Directory:
    """Kept up by `run`; asked by everyone."""

    def __init__(
        self,
        run_id: RunId,
        me: PeerId,
        discovery: Discovery,
        trust: MemberTrust,
        on_trust: Callable[[], Awaitable[None]],
    ) -> None:
        self._run_id = run_id
        self._me = me
        self._discovery = discovery
        self._trust = trust
        self._on_trust = on_trust
        self.on_moved: list[Callable[[PeerId], None]] = []
        """Called when a known peer is reached another way than before, or lets us in now."""
        self._found: dict[PeerId, FoundPeer] = {}
        self._pinned: dict[PeerId, PinnedCertificate] = {}
        self._wanted: dict[PeerId, bytes] = {}
        self._trusted: frozenset[tuple[PeerId, bytes]] = frozenset()
        self._is_stale = asyncio.Event()
        self._has_news = asyncio.Event()

    def follow(self, state: State) -> None:
        """Trust who is in the run now."""
        joins = _participants(state).items()
        wanted: dict[PeerId, bytes] = {peer: join.tls_fingerprint for peer, join in joins}
        if wanted == self._wanted:
            return
        is_let_in = self._me in wanted and self._me not in self._wanted
        self._wanted = wanted
        self._is_stale.set()
        if is_let_in:
            for peer in wanted:
                self._tell_of(peer)

    def members(self) -> dict[PeerId, Contact]:
        """Those we trust and can ask as a member, ourselves left out."""
        return {
            peer: Contact(self._pinned[peer], self._found[peer].record.bulk_addresses[0])
            for peer, _ in self._trusted
            if peer != self._me and self._found[peer].record.bulk_addresses
        }

    def open_doors(self) -> dict[PeerId, Contact]:
        """Everyone who answers newcomers, ourselves left out."""
        return {
            peer: Contact(pinned, self._found[peer].record.joiner_addresses[0])
            for peer, pinned in self._pinned.items()
            if peer != self._me and self._found[peer].record.joiner_addresses
        }

    async def find_doors(self, count: int) -> list[Contact]:
        """Those who answer newcomers, once there are so many."""
        while len(self.open_doors()) < count:
            self._has_news.clear()
            await self._has_news.wait()
        return list(self.open_doors().values())

    def is_missing_anyone(self) -> bool:
        """Whether someone in the run has not been found yet."""
        return any(peer not in self._pinned for peer in self._wanted if peer != self._me)

    async def run(self) -> None:
        """Look again and again, sooner while someone is missing, until cancelled."""
        while True:
            await self._try_to_look()
            pause_s = _HURRY_S if self.is_missing_anyone() or not self._found else _CALM_S
            self._is_stale.clear()
            try:
                await asyncio.wait_for(self._is_stale.wait(), pause_s)
            except asyncio.TimeoutError:
                continue

    async def look_patiently(self) -> None:
        """Read the DHT until it answers, for a few seconds at most."""
        for _ in range(_PATIENT_LOOKS):
            if await self._try_to_look():
                return
            await asyncio.sleep(_HURRY_S)

    async def _try_to_look(self) -> bool:
        try:
            await self.look()
        except PsycheError as error:
            _log.debug("the directory will look again", cause=str(error))
            return False
        return True

    async def look(self) -> None:
        """Read the DHT once."""
        for peer, found in (await self._discovery.lookup(self._run_id)).items():
            if found.record.certificate:
                self._take(peer, found)
        await self._apply_trust()

    def _take(self, peer: PeerId, found: FoundPeer) -> None:
        record = found.record
        known = self._found.get(peer)
        if known is not None and known.record.certificate == record.certificate:
            self._found[peer] = found
            if known.record.bulk_addresses != record.bulk_addresses:
                self._tell_of(peer)
                self._has_news.set()
            return
        try:
            pinned = pin_certificate(peer, record.certificate, record.certificate_signature)
        except RemoteError as error:
            _log.warning("a peer's record is not its own", peer=short_id(peer), cause=str(error))
            return
        self._found[peer], self._pinned[peer] = found, pinned
        self._has_news.set()

    def _tell_of(self, peer: PeerId) -> None:
        for tell in self.on_moved:
            tell(peer)

    async def _apply_trust(self) -> None:
        trusted = frozenset(
            (peer, pinned.fingerprint)
            for peer, pinned in self._pinned.items()
            if self._wanted.get(peer) == pinned.fingerprint
        )
        if trusted != self._trusted:
            self._trusted = trusted
            self._trust.replace(self._pinned[peer] for peer, _ in trusted)
            await self._on_trust()


def _participants(state: State) -> dict[PeerId, Join]:
    """Members that were not ejected, and who waits to become one; of two joins the newer."""
    pairs = [(one.peer, one.join) for one in state.members if one.status in _TRUSTED]
    pairs += [(one.peer, one.join) for one in (*state.applicants, *state.entrants)]
    joins: dict[PeerId, Join] = {}
    for peer, join in pairs:
        known = joins.get(peer)
        if known is None or join.nonce >= known.nonce:
            joins[peer] = join
    return joins
