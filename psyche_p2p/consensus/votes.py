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
    """One step of one view: who voted, and who for what.

    A liar that votes for two values stands under both, once each: another peer may have seen only
    the one, and its quorum must be a quorum here too. Two quorums still share an honest voter.
    """

    voters: dict[PeerId, Envelope] = field(default_factory=dict)
    """What each voter said first."""
    by_value: dict[BlockHash | None, dict[PeerId, Envelope]] = field(default_factory=dict)

    def count(self, block_hash: BlockHash | None) -> int:
        """How many voted for exactly this."""
        return len(self.by_value.get(block_hash, ()))

    def has_counted(self, voter: PeerId, block_hash: BlockHash | None) -> bool:
        return voter in self.by_value.get(block_hash, ())

    def add(self, voter: PeerId, block_hash: BlockHash | None, envelope: Envelope) -> None:
        self.voters.setdefault(voter, envelope)
        self.by_value.setdefault(block_hash, {})[voter] = envelope

    def remove(self, voter: PeerId) -> None:
        self.voters.pop(voter, None)
        for votes in self.by_value.values():
            votes.pop(voter, None)

    def votes_for(self, block_hash: BlockHash | None) -> tuple[Envelope, ...]:
        """Every vote for this block, voters in rising order."""
        votes = self.by_value.get(block_hash, {})
        return tuple(votes[voter] for voter in sorted(votes))


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
        """What this peer said first in this step, if anything."""
        return self.tally(view, step).voters.get(voter)

    def has_room(self, voter: PeerId, view: View, current: View) -> bool:
        """Whether a vote of this view may be kept without keeping too much of one voter."""
        views = self._views.get(voter, ())
        if view in views:
            return True
        same_side = [known for known in views if (known > current) == (view > current)]
        limit = MAX_VIEWS_AHEAD if view > current else MAX_VIEWS_BEHIND
        return len(same_side) < limit or view > min(same_side)

    def add(self, envelope: Envelope, current: View) -> Tally:
        """Count a vote that has not been counted and for which there is room."""
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
            yield from self.tally(View(view - 1), VoteStep.PRECOMMIT).voters.values()

    def count_kept(self, voter: PeerId) -> int:
        """How many votes of one voter are kept."""
        tallies = self._tallies.values()
        return sum(voter in votes for tally in tallies for votes in tally.by_value.values())

    def __len__(self) -> int:
        """How many steps of views anything is kept of."""
        return len(self._tallies)

    def _make_room(self, voter: PeerId, views: set[View], view: View, current: View) -> None:
        same_side = [known for known in views if (known > current) == (view > current)]
        limit = MAX_VIEWS_AHEAD if view > current else MAX_VIEWS_BEHIND
        if len(same_side) < limit:
            return
        oldest = min(same_side)
        views.discard(oldest)
        for step in VoteStep:
            tally = self._tallies.get((oldest, step), _NOTHING)
            tally.remove(voter)
            if not tally.voters:
                self._tallies.pop((oldest, step), None)
