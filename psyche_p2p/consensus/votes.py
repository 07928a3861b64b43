"""The votes of one height: counted once a voter, bounded a voter, contradictions kept as proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from psyche_p2p.ids import BlockHash, PeerId, View
from psyche_p2p.wire import Envelope, Vote, VoteStep

MAX_VIEWS_AHEAD = 4
"""Views beyond our own for which one voter's votes are kept: its latest ones."""
MAX_VIEWS_BEHIND = 64
"""Views up to our own for which one voter's votes are kept: again its latest."""


@dataclass(slots=True)
class Tally:
    """One step of one view: who voted, and how many for what."""

    votes: dict[PeerId, Envelope] = field(default_factory=dict)
    counts: dict[BlockHash | None, int] = field(default_factory=dict)

    def add(self, voter: PeerId, block_hash: BlockHash | None, envelope: Envelope) -> None:
        self.votes[voter] = envelope
        self.counts[block_hash] = self.counts.get(block_hash, 0) + 1

    def remove(self, voter: PeerId) -> None:
        envelope = self.votes.pop(voter, None)
        if envelope is not None:
            self.counts[envelope.message.block_hash] -= 1

    def votes_for(self, block_hash: BlockHash | None) -> tuple[Envelope, ...]:
        """Every vote for this block, voters in rising order."""
        chosen = (self.votes[voter] for voter in sorted(self.votes))
        return tuple(vote for vote in chosen if vote.message.block_hash == block_hash)


_NOTHING = Tally()


class VoteBook:
    """All tallies of one height."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[View, VoteStep], Tally] = {}
        self._views: dict[PeerId, set[View]] = {}
        self._highest: dict[PeerId, View] = {}

    def tally(self, view: View, step: VoteStep) -> Tally:
        """The votes of one step; not to be changed by the caller."""
        return self._tallies.get((view, step), _NOTHING)

    def find(self, voter: PeerId, view: View, step: VoteStep) -> Envelope | None:
        """What this peer said in this step, if anything."""
        return self.tally(view, step).votes.get(voter)

    def has_room(self, voter: PeerId, view: View, current: View) -> bool:
        """Whether a vote of this view may be kept without keeping too much of one voter."""
        views = self._views.get(voter, ())
        if view in views:
            return True
        same_side = [known for known in views if (known > current) == (view > current)]
        limit = MAX_VIEWS_AHEAD if view > current else MAX_VIEWS_BEHIND
        return len(same_side) < limit or view > min(same_side)

    def add(self, envelope: Envelope, current: View) -> Tally:
        """Count a vote that `find` did not know and for which there is room."""
        vote: Vote = envelope.message
        voter = envelope.sender
        views = self._views.setdefault(voter, set())
        if vote.view not in views:
            self._make_room(voter, views, vote.view, current)
            views.add(vote.view)
            self._highest[voter] = max(vote.view, self._highest.get(voter, View(0)))
        tally = self._tallies.setdefault((vote.view, vote.step), Tally())
        tally.add(voter, vote.block_hash, envelope)
        return tally

    def note_view(self, sender: PeerId, view: View) -> None:
        """A peer was heard in this view, if not by a vote then by a proposal."""
        self._highest[sender] = max(view, self._highest.get(sender, View(0)))

    def view_reached_by(self, count: int) -> View | None:
        """The highest view that so many peers have reached."""
        if len(self._highest) < count:
            return None
        return sorted(self._highest.values(), reverse=True)[count - 1]

    def precommits_before(self, view: View) -> Iterator[Envelope]:
        """What ended the view before this one."""
        if view > 0:
            yield from self.tally(View(view - 1), VoteStep.PRECOMMIT).votes.values()

    def count_kept(self, voter: PeerId) -> int:
        """How many votes of one voter are kept."""
        return sum(voter in tally.votes for tally in self._tallies.values())

    def _make_room(self, voter: PeerId, views: set[View], view: View, current: View) -> None:
        same_side = [known for known in views if (known > current) == (view > current)]
        limit = MAX_VIEWS_AHEAD if view > current else MAX_VIEWS_BEHIND
        if len(same_side) < limit:
            return
        oldest = min(same_side)
        views.discard(oldest)
        for step in VoteStep:
            tally = self._tallies.get((oldest, step))
            if tally is not None:
                tally.remove(voter)
