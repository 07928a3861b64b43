"""Many peers in virtual time: gossip that drops, and anti-entropy over a network with delays."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random

from psyche_p2p.identity import Identity
from psyche_p2p.ids import (
    BatchInterval,
    BlobHash,
    BlockHash,
    EpochIndex,
    Height,
    ParamRoot,
    RoundIndex,
    View,
)
from psyche_p2p.net.anti_entropy import AntiEntropy
from psyche_p2p.net.statements import Frontier, StatementPool
from psyche_p2p.wire import (
    AntiEntropyDigest,
    Attestation,
    Commitment,
    Envelope,
    Vote,
    VoteStep,
    open_envelope,
    seal,
)
from psyche_p2p.wire.bulk import PullRequest
from tests.net.builders import RUN, make_person

PERIOD_S = 1.0
FRONTIER = Frontier(Height(9), BlockHash(b"b" * 32), View(0), ((EpochIndex(1), RoundIndex(7)),))


def make_identities(number: int) -> list[Identity]:
    return [make_person(f"peer {index}").identity for index in range(number)]


def make_statement(author: Identity, index: int) -> bytes:
    """A commitment, an attestation or a vote, each index another one."""
    epoch, round_index, mark = EpochIndex(1), RoundIndex(7), BlobHash(index.to_bytes(32, "big"))
    match index % 3:
        case 0:
            batch = BatchInterval(index * 8, index * 8 + 8)
            commitment = Commitment(epoch, round_index, batch, mark, 1000, mark, 100)
            return seal(commitment, RUN, author)
        case 1:
            roots = (ParamRoot(mark),)
            return seal(Attestation(epoch, round_index, (), round_index, roots), RUN, author)
        case _:
            vote = Vote(Height(10), View(index), VoteStep.PREVOTE, BlockHash(mark))
            return seal(vote, RUN, author)


class Peer:
    """A pool and its anti-entropy."""

    def __init__(
        self,
        identity: Identity,
        members: set[str],
        random: Random,
        on_new: Callable[[Envelope], None],
    ) -> None:
        self.identity = identity
        self.pool = StatementPool(RUN, members.__contains__, FRONTIER, on_new)
        self.core = AntiEntropy(self.pool, PERIOD_S, random.choice)


class GossipWorld:
    """Publishes statements, loses some on the way to each peer, and lets peers compare."""

    def __init__(self, number: int, seed: int, drop: float, delay_s: float = 0.05) -> None:
        self.random = Random(seed)
        identities = make_identities(number)
        members: set[str] = {one.peer_id for one in identities}
        self.peers = [Peer(one, members, self.random, self._count) for one in identities]
        self.now = 0.0
        self.exchanges = 0
        self._by_id = {peer.identity.peer_id: peer for peer in self.peers}
        self._drop = drop
        self._delay_s = delay_s
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._tie = count()
        self._published: dict[bytes, float] = {}
        self._lacking: dict[bytes, int] = {}
        self.complete_after: dict[bytes, float] = {}
        for peer in self.peers:
            self._at(self.random.random() * PERIOD_S, partial(self._tick, peer))

    def publish(self, author: Peer, index: int, at: float) -> None:
        raw = make_statement(author.identity, index)
        opened = open_envelope(raw, RUN)

        def gossip() -> None:
            self._published[opened.id], self._lacking[opened.id] = self.now, len(self.peers)
            author.pool.add(opened)
            for peer in self.peers:
                if peer is not author and self.random.random() >= self._drop:
                    self._at(self.now + self._delay_s, partial(peer.pool.add, opened))

        self._at(at, gossip)

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now, _, happen = heapq.heappop(self._events)
            happen()

    @property
    def unfinished(self) -> int:
        return len(self._published) - len(self.complete_after)

    def _at(self, time_s: float, happen: Callable[[], object]) -> None:
        heapq.heappush(self._events, (time_s, next(self._tie), happen))

    def _count(self, opened: Envelope) -> None:
        self._lacking[opened.id] -= 1
        if not self._lacking[opened.id]:
            self.complete_after[opened.id] = self.now - self._published[opened.id]

    def _tick(self, peer: Peer) -> None:
        others = [one for one in self._by_id if one != peer.identity.peer_id]
        chosen = peer.core.on_due(others, self.now)
        due_at = peer.core.next_deadline()
        assert chosen is not None
        assert due_at is not None
        self._at(due_at, lambda: self._tick(peer))
        self._at(self.now + self._delay_s, lambda: self._answer(peer, self._by_id[chosen]))

    def _answer(self, peer: Peer, other: Peer) -> None:
        theirs = other.pool.digest()
        self._at(self.now + self._delay_s, lambda: self._compare(peer, other, theirs))

    def _compare(self, peer: Peer, other: Peer, theirs: AntiEntropyDigest) -> None:
        exchange = peer.core.on_digest(theirs)
        if exchange.pull is not None:
            asked = exchange.pull
            self.exchanges += 1
            self._at(self.now + self._delay_s, lambda: self._serve(peer, other, asked))

    def _serve(self, peer: Peer, other: Peer, asked: PullRequest) -> None:
        wanted, envelopes = other.pool.wanted(asked), other.pool.lacking(asked)

        def arrive() -> None:
            offered = peer.core.on_pulled(wanted, envelopes)
            self._at(self.now + self._delay_s, lambda: push(offered))

        def push(offered: list[bytes]) -> None:
            for raw in offered:
                other.pool.accept(raw)

        self._at(self.now + self._delay_s, arrive)
