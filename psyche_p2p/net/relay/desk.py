"""Who listens at a relay, who waits for whom, and how many circuits each has (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from psyche_p2p.ids import BlobHash, PeerId, RunId
from psyche_p2p.net.relay.ticket import TicketRefused, is_guest
from psyche_p2p.wire.relay import RelayCode, RelayTicket

MailboxT = TypeVar("MailboxT")
PromiseT = TypeVar("PromiseT")
Member = tuple[RunId, PeerId]


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """What a relay spends on others. Each circuit costs it two buffers of 256 KiB."""

    handshake_s: float = 5.0
    """A connection without a ticket ends after this."""
    half_open: int = 128
    half_open_per_host: int = 16
    listeners: int = 256
    circuits: int = 128
    circuits_per_peer: int = 48
    """Counted for both ends, waiting ones included."""
    guest_circuits: int = 16
    """Those that newcomers asked for, who may be anyone."""
    guest_circuits_per_peer: int = 4
    """To one peer."""
    circuits_per_pair: int = 3
    """So that one caller cannot take all the places of the peer it calls."""
    dials_per_s: float = 5.0
    """Of one caller, on average; it may save up `dials_burst`."""
    dials_burst: float = 20.0
    answer_s: float = 10.0
    """How long a caller waits for the one it calls."""
    idle_s: float = 120.0
    """A circuit on which nothing moves for so long ends."""
    recheck_s: float = 1.0
    """How often an open circuit's members are looked up again."""
    bytes_per_s: float = 64e6
    """Of one circuit, both directions together."""
    total_bytes_per_s: float = 256e6


class Desk(Generic[MailboxT, PromiseT]):
    """The relay's lists. Mailboxes reach listeners, promises reach waiting callers."""

    def __init__(self, limits: RelayLimits) -> None:
        self._limits = limits
        self._listeners: dict[Member, MailboxT] = {}
        self._calls: dict[BlobHash, tuple[Member, PromiseT]] = {}
        self._circuits: Counter[Member] = Counter()
        self._pairs: Counter[tuple[Member, Member]] = Counter()
        self._guests: Counter[Member] = Counter()
        """Of each peer, the circuits that newcomers asked for."""
        self._total = 0

    @property
    def circuits(self) -> int:
        """Open and waiting ones."""
        return self._total

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def add_listener(self, ticket: RelayTicket, mailbox: MailboxT) -> MailboxT | None:
        """List a member as reachable; its own former mailbox, if it had one."""
        member = (ticket.run_id, ticket.peer)
        former = self._listeners.get(member)
        if former is None and len(self._listeners) >= self._limits.listeners:
            raise TicketRefused(RelayCode.BUSY)
        self._listeners[member] = mailbox
        return former

    def remove_listener(self, ticket: RelayTicket, mailbox: MailboxT) -> None:
        """Forget a mailbox, unless a newer one has taken its place."""
        member = (ticket.run_id, ticket.peer)
        if self._listeners.get(member) is mailbox:
            del self._listeners[member]

    def find_listener(self, ticket: RelayTicket) -> MailboxT:
        """The mailbox of the member that a dialler wants."""
        assert ticket.target is not None, "a checked dial names its target"
        mailbox = self._listeners.get((ticket.run_id, ticket.target))
        if mailbox is None:
            raise TicketRefused(RelayCode.NOT_LISTENING)
        return mailbox

    @contextmanager
    def circuit(self, ticket: RelayTicket) -> Iterator[None]:
        """Hold a place for a circuit of a dialler's ticket."""
        assert ticket.target is not None, "a checked dial names its target"
        ends = ((ticket.run_id, ticket.peer), (ticket.run_id, ticket.target))
        guests = int(is_guest(ticket))
        if self._is_full(ends) or (guests and self._is_full_of_guests(ends[1])):
            raise TicketRefused(RelayCode.BUSY)
        self._count(ends, +1, guests)
        try:
            yield
        finally:
            self._count(ends, -1, -guests)

    def _is_full(self, ends: tuple[Member, Member]) -> bool:
        limits = self._limits
        return (
            self._total >= limits.circuits
            or self._pairs[ends] >= limits.circuits_per_pair
            or any(self._circuits[end] >= limits.circuits_per_peer for end in ends)
        )

    def _is_full_of_guests(self, target: Member) -> bool:
        limits = self._limits
        return (
            self._guests.total() >= limits.guest_circuits
            or self._guests[target] >= limits.guest_circuits_per_peer
        )

    def _count(self, ends: tuple[Member, Member], change: int, guests: int) -> None:
        self._total += change
        self._pairs[ends] += change
        self._guests[ends[1]] += guests
        for end in ends:
            self._circuits[end] += change
        self._pairs += Counter()  # drops the zeros
        self._circuits += Counter()
        self._guests += Counter()

    @contextmanager
    def call(self, ticket: RelayTicket, call: BlobHash, promise: PromiseT) -> Iterator[None]:
        """Let the target answer this call while the caller waits."""
        assert ticket.target is not None, "a checked dial names its target"
        self._calls[call] = ((ticket.run_id, ticket.target), promise)
        try:
            yield
        finally:
            self._calls.pop(call, None)

    def take_call(self, ticket: RelayTicket) -> PromiseT:
        """The promise behind the call that a listener answers: once, and only by the one called."""
        assert ticket.call is not None, "a checked answer names its call"
        member, promise = self._calls.get(ticket.call, (None, None))
        if member != (ticket.run_id, ticket.peer) or promise is None:
            raise TicketRefused(RelayCode.BAD_TICKET)
        del self._calls[ticket.call]
        return promise
