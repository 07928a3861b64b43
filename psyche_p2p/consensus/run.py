"""The run itself as something to agree on: the replicated state behind agreement's questions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from psyche_p2p.consensus.application import Committee
from psyche_p2p.consensus.effects import EvidenceFound
from psyche_p2p.coordinator import (
    AnyCommand,
    Pool,
    Sign,
    State,
    Verify,
    apply,
    build_block,
    committee_at,
    compute_quorum,
    due_commands,
    due_times_ms,
    proposer_order,
)
from psyche_p2p.errors import Rejected
from psyche_p2p.identity import verify as verify_signature
from psyche_p2p.ids import BlockHash, Height, PeerId, View
from psyche_p2p.wire import Block, Vote
from psyche_p2p.wire.commands import EjectForVotes

MAX_CLOCK_AHEAD_MS = 500
"""A block stamped further ahead of our clock than this waits until it no longer is."""

Apply: TypeAlias = Callable[[State, Block], State]


class RunApplication:
    """One peer's view of the run: the state at the head, and what it heard since."""

    def __init__(
        self,
        state: State,
        me: PeerId,
        sign: Sign,
        get_heard: Callable[[], Pool],
        clock_offset_ms: int,
        apply_to: Apply | None = None,
        verify: Verify = verify_signature,
    ) -> None:
        self._state = state
        self._me = me
        self._sign = sign
        self._get_heard = get_heard
        self._clock_offset_ms = clock_offset_ms
        self._apply_to = apply_to or partial(apply, verify=verify)
        self._committee: Committee | None = None
        self._proposers: tuple[PeerId, ...] = ()
        self._checked: tuple[Block, State] | None = None
        self._due: tuple[int, tuple[AnyCommand, ...]] | None = None

    @property
    def state(self) -> State:
        """The state at the head of the log."""
        return self._state

    @property
    def height(self) -> Height:
        return Height(self._state.height + 1)

    @property
    def head(self) -> BlockHash:
        return self._state.block_hash

    def committee(self) -> Committee:
        if self._committee is None:
            members = committee_at(self._state)
            self._committee = Committee(members, compute_quorum(len(members)))
        return self._committee

    def proposer(self, view: View) -> PeerId:
        if not self._proposers:
            self._proposers = proposer_order(self._state)
        return self._proposers[view % len(self._proposers)]

    def is_member(self, peer: PeerId) -> bool:
        if peer in self.committee().voters or self._state.find_member(peer) is not None:
            return True
        waiting = (*self._state.entrants, *self._state.applicants)
        return any(applicant.peer == peer for applicant in waiting)

    def wall_ms(self, now_ms: int) -> int:
        """What this machine's clock says."""
        return now_ms + self._clock_offset_ms

    def is_due(self, now_ms: int) -> bool:
        """Whether there is something to decide, as far as this peer has heard."""
        return bool(self._due_commands(now_ms))

    def next_due_ms(self, now_ms: int) -> int | None:
        """When, by this machine's deadlines, the passing of time alone may make a block due."""
        times = (time_ms - self._clock_offset_ms for time_ms in due_times_ms(self._state))
        return next((time_ms for time_ms in times if time_ms > now_ms), None)

    def build_block(self, view: View, now_ms: int) -> Block | None:
        commands = self._due_commands(now_ms)
        if not commands:
            return None
        wall_ms = self.wall_ms(now_ms)
        return build_block(self._state, view, self._me, self._sign, commands, wall_ms)

    def find_fault(self, block: Block) -> str | None:
        try:
            self._checked = (block, self._apply_to(self._state, block))
        except Rejected as rejected:
            return str(rejected)
        return None

    def find_untimely(self, block: Block, now_ms: int) -> str | None:
        ahead_ms = block.time_ms - self.wall_ms(now_ms)
        if ahead_ms > MAX_CLOCK_AHEAD_MS:
            return f"its time is {ahead_ms} ms ahead of our clock"
        return None

    def apply_block(self, block: Block) -> None:
        if self._checked is None or self._checked[0] != block:
            self._checked = (block, self._apply_to(self._state, block))
        self._state = self._checked[1]
        self._committee, self._proposers = None, ()
        self._checked = self._due = None

    def _due_commands(self, now_ms: int) -> tuple[AnyCommand, ...]:
        """What is due now; asked twice at one moment (is it due? build it!), answered once."""
        if self._due is None or self._due[0] != now_ms:
            commands = due_commands(self._state, self._get_heard(), self.wall_ms(now_ms))
            self._due = (now_ms, commands)
        return self._due[1]


def make_ejection(evidence: EvidenceFound) -> EjectForVotes | None:
    """The command that ejects a double voter; None for two proposals, which prove no vote.

    A proposal carries a whole block, so two of them would not fit into a third; an equivocating
    proposer is out of the run as soon as it also votes for both.
    """
    first, second = evidence.first, evidence.second
    if not isinstance(first.message, Vote) or not isinstance(second.message, Vote):
        return None
    return EjectForVotes(
        peer=evidence.offender,
        first=first.message,
        first_signature=first.signature,
        second=second.message,
        second_signature=second.signature,
    )
