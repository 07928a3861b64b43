"""Whether a peer remembers what it said; one that lost its write-ahead log must not vote yet.

It may have voted at the height the others were deciding when it stopped. It asks the members of the
committee, each over its own authenticated channel so that nothing old can be played back, which
height they are deciding. Among enough answers there is an honest peer that voted for the last
block which this peer can have seen decided, so this peer voted at most one height above the highest
answer: it votes again two heights above.
"""

from __future__ import annotations

from psyche_p2p.consensus.application import Committee
from psyche_p2p.ids import Height, PeerId


class Memory:
    """From which height on this peer may vote; None while it cannot know."""

    def __init__(self, is_complete: bool) -> None:
        self._votes_from: Height | None = Height(0) if is_complete else None
        self._heard: dict[PeerId, Height] = {}

    @property
    def votes_from(self) -> Height | None:
        return self._votes_from

    def may_vote_at(self, height: Height) -> bool:
        """Whether nothing forgotten can be contradicted at this height."""
        return self._votes_from is not None and height >= self._votes_from

    def hear(self, peer: PeerId, height: Height) -> None:
        """Note what a peer says of itself; `settle` keeps only members of the committee."""
        if self._votes_from is None:
            self._heard[peer] = max(height, self._heard.get(peer, Height(0)))

    def settle(self, height: Height, committee: Committee) -> None:
        """Once enough members have answered and we are as far as they, decide when to vote."""
        if self._votes_from is not None:
            return
        answers = {peer: h for peer, h in self._heard.items() if peer in committee.voters}
        self._heard = answers
        if len(answers) < committee.answers_for_memory:
            return
        highest = max(answers.values())
        if height >= highest:
            self._votes_from = Height(highest + 2)
