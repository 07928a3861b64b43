"""The signed statements a peer holds about what is still open, in sets that can be compared.

Pure. A statement is an envelope; its set is the round, or (votes and proposals) the height it is
about. Only what is open is held, only from members, and only so much of each: a second, different
statement must be kept, because it is evidence, but not a thousandth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from psyche_p2p.hashing import hash_bytes, hash_parts
from psyche_p2p.ids import BlobHash, BlockHash, EpochIndex, Height, PeerId, RoundIndex, RunId, View
from psyche_p2p.wire import (
    AntiEntropyDigest,
    Attestation,
    Commitment,
    Envelope,
    Proposal,
    Refusal,
    RoundDigest,
    Verdict,
    Vote,
    open_envelope,
)
from psyche_p2p.wire.bulk import PullRequest, StatementSet, Topic

_MAX_IDS = 7000  # what a PullRequest holds
_MAX_PER_SENDER = {
    Topic.COMMITMENTS: 16,
    Topic.ATTESTATIONS: 32,
    Topic.VERDICTS: 64,
    Topic.VOTES: 128,
}
_ROUND_TOPICS = (Topic.COMMITMENTS, Topic.ATTESTATIONS, Topic.VERDICTS)


@dataclass(frozen=True, slots=True, order=True)
class SetKey:
    """What a set of statements is about."""

    topic: Topic
    epoch: EpochIndex
    index: int


@dataclass(frozen=True, slots=True)
class Frontier:
    """What is open: the log's end, and the rounds that are not closed."""

    height: Height
    block_hash: BlockHash
    view: View
    rounds: tuple[tuple[EpochIndex, RoundIndex], ...]

    def open_sets(self) -> set[SetKey]:
        """The sets that may be filled."""
        votes = SetKey(Topic.VOTES, EpochIndex(0), self.height + 1)
        rounds = {
            SetKey(topic, epoch, index) for epoch, index in self.rounds for topic in _ROUND_TOPICS
        }
        return {votes, *rounds}


@dataclass(slots=True)
class _Set:
    held: dict[BlobHash, bytes] = field(default_factory=dict)
    per_sender: Counter[PeerId] = field(default_factory=Counter)
    digest: BlobHash | None = None


class StatementPool:
    """Everything that was heard and is still of use."""

    def __init__(
        self,
        run_id: RunId,
        is_member: Callable[[PeerId], bool],
        frontier: Frontier,
        on_new: Callable[[Envelope], None],
    ) -> None:
        self._run_id = run_id
        self._is_member = is_member
        self._frontier = frontier
        self._on_new = on_new
        self._sets: dict[SetKey, _Set] = {key: _Set() for key in frontier.open_sets()}

    @property
    def frontier(self) -> Frontier:
        return self._frontier

    def move_to(self, frontier: Frontier) -> None:
        """Forget what was closed and open what is new."""
        self._frontier = frontier
        self._sets = {key: self._sets.get(key, _Set()) for key in frontier.open_sets()}

    def accept(self, envelope: bytes) -> bool:
        """Hold a statement that is new and of use; a WireError if it is not one at all.

        Whoever handed it over need not have said it: what counts is who signed.
        """
        known = BlobHash(hash_bytes(envelope))
        if any(known in one.held for one in self._sets.values()):
            return False  # most of what gossip and others bring: not worth a signature check
        opened = open_envelope(envelope, self._run_id)
        return self._hold(opened)

    def add(self, opened: Envelope) -> bool:
        """Hold a statement that was checked elsewhere: our own, or one from gossip."""
        if any(BlobHash(opened.id) in one.held for one in self._sets.values()):
            return False
        return self._hold(opened)

    def digest(self) -> AntiEntropyDigest:
        """What others compare with theirs."""
        frontier = self._frontier
        rounds = tuple(
            RoundDigest(
                epoch,
                index,
                *(self._digest(SetKey(topic, epoch, index)) for topic in _ROUND_TOPICS),
            )
            for epoch, index in sorted(frontier.rounds)
        )
        votes = SetKey(Topic.VOTES, EpochIndex(0), frontier.height + 1)
        return AntiEntropyDigest(
            frontier.height, frontier.block_hash, frontier.view, self._digest(votes), rounds
        )

    def differing(self, theirs: AntiEntropyDigest) -> PullRequest:
        """Our sets where theirs are not the same."""
        ours, different = self.digest(), []
        if theirs.height == ours.height and theirs.votes != ours.votes:
            different.append(SetKey(Topic.VOTES, EpochIndex(0), ours.height + 1))
        our_rounds = {(one.epoch, one.round): one for one in ours.rounds}
        for their in theirs.rounds:
            our = our_rounds.get((their.epoch, their.round))
            if our is not None:
                different += _differing_keys(our, their)
        return PullRequest(tuple(self._ids(key) for key in self._as_fit(different)))

    def lacking(self, theirs: PullRequest) -> list[bytes]:
        """What we hold of these sets and they do not."""
        return [
            envelope
            for one, key in _each_once(theirs)
            for known, envelope in self._held_beyond(key, one.ids)
        ]

    def wanted(self, theirs: PullRequest) -> PullRequest:
        """What they hold of these sets and we do not."""
        sets = []
        for one, key in _each_once(theirs):
            if key in self._sets:
                held = self._sets[key].held
                ids = tuple(known for known in one.ids if known not in held)
                sets.append(StatementSet(one.topic, one.epoch, one.index, ids))
        return PullRequest(tuple(one for one in sets if one.ids))

    def named(self, wanted: PullRequest) -> list[bytes]:
        """The statements that another asked for by their ids."""
        return [
            self._sets[key].held[known]
            for one, key in _each_once(wanted)
            if key in self._sets
            for known in one.ids
            if known in self._sets[key].held
        ]

    @property
    def count(self) -> int:
        """How many statements are held."""
        return sum(len(one.held) for one in self._sets.values())

    def _hold(self, opened: Envelope) -> bool:
        key = _key_of(opened)
        if key is None or key not in self._sets or not self._is_member(opened.sender):
            return False
        found = self._sets[key]
        is_full = found.per_sender[opened.sender] >= _MAX_PER_SENDER[key.topic]
        if is_full or len(found.held) >= _MAX_IDS:
            return False
        found.held[BlobHash(opened.id)] = opened.raw
        found.per_sender[opened.sender] += 1
        found.digest = None
        self._on_new(opened)
        return True

    def _digest(self, key: SetKey) -> BlobHash:
        found = self._sets[key]
        if found.digest is None:
            found.digest = BlobHash(hash_parts("statements", *sorted(found.held)))
        return found.digest

    def _as_fit(self, keys: list[SetKey]) -> Iterator[SetKey]:
        """The first of these sets whose ids fit a request; the others' turn comes with the next."""
        total = 0
        for key in keys:
            total += len(self._sets[key].held)
            if total <= _MAX_IDS:
                yield key

    def _ids(self, key: SetKey) -> StatementSet:
        return StatementSet(key.topic, key.epoch, key.index, tuple(sorted(self._sets[key].held)))

    def _held_beyond(
        self, key: SetKey, ids: Collection[BlobHash]
    ) -> Iterable[tuple[BlobHash, bytes]]:
        if key not in self._sets:
            return ()
        theirs = set(ids)
        return ((id_, raw) for id_, raw in self._sets[key].held.items() if id_ not in theirs)


def _each_once(request: PullRequest) -> Iterable[tuple[StatementSet, SetKey]]:
    """A request's sets by key: naming one twice must not double the answer."""
    by_key = {SetKey(one.topic, one.epoch, one.index): one for one in request.sets}
    return ((one, key) for key, one in by_key.items())


def _key_of(opened: Envelope) -> SetKey | None:
    match opened.message:
        case Commitment(epoch=epoch, round=index):
            return SetKey(Topic.COMMITMENTS, epoch, index)
        case Attestation(epoch=epoch, round=index):
            return SetKey(Topic.ATTESTATIONS, epoch, index)
        case Verdict(epoch=epoch, round=index) | Refusal(epoch=epoch, round=index):
            return SetKey(Topic.VERDICTS, epoch, index)
        case Vote(height=height) | Proposal(height=height):
            return SetKey(Topic.VOTES, EpochIndex(0), height)
        case _:
            return None


def _differing_keys(our: RoundDigest, their: RoundDigest) -> list[SetKey]:
    pairs = (
        (Topic.COMMITMENTS, our.commitments, their.commitments),
        (Topic.ATTESTATIONS, our.attestations, their.attestations),
        (Topic.VERDICTS, our.verdicts, their.verdicts),
    )
    return [SetKey(topic, our.epoch, our.round) for topic, one, other in pairs if one != other]
