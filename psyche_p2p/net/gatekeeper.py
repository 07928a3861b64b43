"""Decides what to do with a message that gossip brought, and with who sent it (sans-IO).

The daemon forwards whatever its author signed, so all judgement is ours: size, rate and duplicates
first, then the envelope's signature, then the run's own validator, which says accept, ignore or
reject. Who is rejected too often is banned for a while. Members have a budget each; all strangers
together have one, so that a crowd of invented identities buys nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from psyche_p2p.errors import WireCode, WireError
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import PeerId, RunId
from psyche_p2p.net.limits import TokenBucket
from psyche_p2p.wire import MAX_ENVELOPE_BYTES, Envelope, open_envelope

# A peer that speaks a newer protocol is not an enemy.
_NOT_ITS_FAULT = (WireCode.UNKNOWN_VERSION, WireCode.UNKNOWN_KIND)
_MAX_OFFENDERS = 1024


class Outcome(Enum):
    """What a message deserves (the words of libp2p's gossipsub)."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a message deserves, and why."""

    outcome: Outcome
    reason: str = ""


ACCEPTED = Judgement(Outcome.ACCEPT)


def ignore(reason: str) -> Judgement:
    """Useless, but nobody's fault: late, early, known."""
    return Judgement(Outcome.IGNORE, reason)


def reject(reason: str) -> Judgement:
    """No honest peer sends this."""
    return Judgement(Outcome.REJECT, reason)


Validator = Callable[[Envelope], Judgement]


@dataclass(frozen=True, slots=True)
class GossipLimits:
    """How much one author may send, and how much is forgiven."""

    messages_per_s: float = 50.0
    messages_burst: int = 400
    bytes_per_s: float = 1 << 20
    bytes_burst: int = 8 << 20
    remembered: int = 1 << 14
    """Ids of accepted messages kept to recognise duplicates."""
    max_strikes: float = 10.0
    """A rejected message is one strike, one over the rate a tenth; this many ban the author."""
    forgiven_per_s: float = 0.1
    ban_s: float = 300.0


class Gatekeeper:
    """Judges messages one by one; `now` is any monotonic time in seconds."""

    def __init__(
        self,
        run_id: RunId,
        validate: Validator,
        is_member: Callable[[PeerId], bool],
        limits: GossipLimits,
    ) -> None:
        self._run_id = run_id
        self._validate = validate
        self._is_member = is_member
        self._limits = limits
        self._members: dict[PeerId, _Budget] = {}
        self._strangers = _Budget(limits)
        self._strikes: OrderedDict[PeerId, tuple[float, float]] = OrderedDict()
        self._banned: OrderedDict[PeerId, float] = OrderedDict()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self.outcomes: Counter[Outcome] = Counter()

    def on_message(
        self, author: PeerId, data: bytes, now: float
    ) -> tuple[Judgement, Envelope | None]:
        """The judgement on a message, and its envelope if it is accepted."""
        judgement, envelope = self._judge(author, data, now)
        self.outcomes[judgement.outcome] += 1
        if judgement.outcome is Outcome.REJECT:
            self._strike(author, 1.0, now)
        return judgement, envelope

    def remember(self, data: bytes) -> None:
        """Take a message as known: one of ours, or one that came another way."""
        self._seen[hash_bytes(data)] = None
        while len(self._seen) > self._limits.remembered:
            self._seen.popitem(last=False)

    def banned(self, now: float) -> frozenset[PeerId]:
        """Authors that nothing is taken from for now."""
        for peer in [peer for peer, until in self._banned.items() if until <= now]:
            del self._banned[peer]
        return frozenset(self._banned)

    def _judge(self, author: PeerId, data: bytes, now: float) -> tuple[Judgement, Envelope | None]:
        """Every check, the cheapest first; what is seen is remembered only after the last one."""
        if self._banned.get(author, now) > now:
            return ignore("its author is banned"), None
        if len(data) > MAX_ENVELOPE_BYTES:
            return reject(f"{len(data)} bytes, at most {MAX_ENVELOPE_BYTES} are allowed"), None
        if not self._budget(author).take(len(data), now):
            self._strike(author, 0.1, now)
            return ignore("its author sends too much"), None
        if hash_bytes(data) in self._seen:
            return ignore("a duplicate"), None
        try:
            envelope = open_envelope(data, self._run_id)
        except WireError as error:
            is_fault = error.code not in _NOT_ITS_FAULT
            return (reject if is_fault else ignore)(error.cause), None
        judgement = self._validate(envelope)
        if judgement.outcome is not Outcome.ACCEPT:
            return judgement, None
        self.remember(data)
        return judgement, envelope

    def _budget(self, author: PeerId) -> _Budget:
        if not self._is_member(author):
            self._members.pop(author, None)
            return self._strangers
        return self._members.setdefault(author, _Budget(self._limits))

    def _strike(self, author: PeerId, weight: float, now: float) -> None:
        strikes, since = self._strikes.pop(author, (0.0, now))
        forgiven = (now - since) * self._limits.forgiven_per_s
        strikes = max(0.0, strikes - forgiven) + weight
        if strikes >= self._limits.max_strikes:
            self._banned[author] = now + self._limits.ban_s
        else:
            self._strikes[author] = (strikes, now)
        for table in (self._strikes, self._banned):
            while len(table) > _MAX_OFFENDERS:
                table.popitem(last=False)


class _Budget:
    """What an author may still send: messages and bytes."""

    def __init__(self, limits: GossipLimits) -> None:
        self._messages = TokenBucket(limits.messages_per_s, limits.messages_burst)
        self._bytes = TokenBucket(limits.bytes_per_s, limits.bytes_burst)

    def take(self, size: int, now: float) -> bool:
        return self._messages.try_take(1, now) and self._bytes.try_take(size, now)
