"""The invariants, checked at every event on what honest peers do and on what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from psyche_p2p.coordinator import (
    SEED_CONTEXT,
    State,
    Verify,
    committee_at,
    decode_command,
    next_seed,
    seed_message,
)
from psyche_p2p.ids import BlobHash, BlockHash, Height, PeerId, RunId, StateRoot
from psyche_p2p.sim import duties
from psyche_p2p.wire import Block, DecidedBlock, Envelope, Proposal, Role, Vote, VoteStep
from psyche_p2p.wire.commands import CloseRound, EjectForCommitments, EjectForVotes

EJECTION_HEIGHTS = 6
"""Among so many blocks in a row one is an honest proposer's, who includes the proof it holds."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    time_ms: int
    rule: str
    details: str


@dataclass
class Monitor:
    """Sees everything, takes part in nothing, and trusts no code that it checks."""

    run_id: RunId
    verify: Verify
    honest: frozenset[PeerId]
    now_ms: int = 0
    violations: list[Violation] = field(default_factory=list)
    blocks: dict[Height, tuple[BlockHash, StateRoot]] = field(default_factory=dict)
    holders: dict[BlobHash, set[PeerId]] = field(default_factory=dict)
    named: set[PeerId | None] = field(default_factory=set)
    """Teachers whose targets a block refused."""
    _votes: dict[tuple[PeerId, Height, int, VoteStep | None], object] = field(default_factory=dict)
    _committee_sizes: dict[Height, int] = field(default_factory=dict)
    _contradictions: dict[PeerId, Height] = field(default_factory=dict)

    def report(self, rule: str, details: str) -> None:
        """Note a violation; the first few tell everything."""
        if len(self.violations) < 20:
            self.violations.append(Violation(self.now_ms, rule, details))

    def on_said(self, envelope: Envelope) -> None:
        """An honest peer sent a proposal or vote: no two may contradict, whatever it survived."""
        message: Vote | Proposal = envelope.message
        if isinstance(message, Vote):
            step: VoteStep | None = message.step
            content: object = message.block_hash
        else:
            step, content = None, message
        key = (envelope.sender, message.height, int(message.view), step)
        if self._votes.setdefault(key, content) != content:
            self.report("no vote contradicts an earlier vote", f"{key} by {envelope.sender}")

    def on_holding(self, peer: PeerId, blob: BlobHash) -> None:
        """A peer has this blob whole on its disk."""
        self.holders.setdefault(blob, set()).add(peer)

    def on_applied(self, peer: PeerId, before: State, block: Block, after: State) -> None:
        """An honest peer moved past a block: one block a height, one state, an honest seed."""
        seen = (after.block_hash, block.state_root)
        expected = self.blocks.setdefault(block.height, seen)
        if expected != seen:
            self.report("one block per height, one state", f"height {block.height} at {peer}")
        if block.height not in self._committee_sizes:
            self._committee_sizes[block.height] = len(committee_at(before))
            self._check_new_block(before, block, after)
            if (before.param_round, before.param_roots) != (after.param_round, after.param_roots):
                self._check_roots(before, after)

    def on_decided(self, decided: DecidedBlock) -> None:
        """A certificate must carry different signers, more than two thirds of four or more."""
        signers = {one.voter for one in decided.certificate.signatures}
        size = self._committee_sizes.get(decided.block.height, 0)
        needed = _quorum(size)
        if len(signers) < needed:
            self.report("a quorum decides", f"{len(signers)} of {needed} signatures")

    def on_contradiction(self, envelope: Envelope) -> None:
        """An honest peer held both of two contradicting votes."""
        self._contradictions.setdefault(envelope.sender, envelope.message.height)

    def check_end(self, states: Iterable[State]) -> None:
        """Whoever was caught is out a few heights later."""
        for state in states:
            banned = {account.peer for account in state.accounts if account.is_banned}
            for peer, height in self._contradictions.items():
                if peer not in banned and state.height > height + EJECTION_HEIGHTS:
                    self.report("evidence ejects", f"{peer} was caught at height {height}")

    def _check_new_block(self, before: State, block: Block, after: State) -> None:
        message = seed_message(self.run_id, block.height, before.seed)
        is_signed = self.verify(block.proposer, SEED_CONTEXT, message, block.seed_signature)
        if not is_signed or block.seed != next_seed(before.seed, block.seed_signature):
            self.report("the seed is bound to its height", f"height {block.height}")
        for command in map(decode_command, block.commands):
            if isinstance(command, CloseRound):
                self._check_accepted(before, command, after)
                self._check_named(before, command)
            if isinstance(command, (EjectForVotes, EjectForCommitments)):
                self._check_ejected(command.peer)
        self._check_points(after)

    def _check_roots(self, before: State, after: State) -> None:
        """A tier's root is what honest peers reach, unless liars alone are a quorum of its holders.

        Holders are the trainers of that tier and lower ones on the committee, or else anywhere.
        """
        opened = before.open_rounds
        committee = opened[0].committee if opened else before.closing_committee
        for place, honest in enumerate(duties.stub_param_roots(after.param_round)):
            able = {
                one.peer
                for one in before.active_members
                if Role.TRAINER in one.join.roles and one.join.tier <= duties.MAX_TIER - place
            }
            voters = able.intersection(committee) or able
            expected = honest if voters else bytes(len(honest))
            liars = voters - self.honest
            if after.param_roots[place] != expected and len(liars) < _quorum(len(voters)):
                tier = duties.MAX_TIER - place
                self.report("a tier's root needs its quorum", f"tier {tier}, {len(liars)} liars")

    def _check_accepted(self, before: State, command: CloseRound, after: State) -> None:
        """What earned its trainer points must be on some honest peer's disk.

        A round's witnessing earns at most a point a contribution, any accepted work more than that.
        """
        opened = before.open_rounds[0]
        for contribution in command.contributions:
            trainer = opened.slots[contribution.slot].trainer
            then, now = before.find_account(trainer), after.find_account(trainer)
            earned = now.epoch_points - then.epoch_points if then and now else 0
            holders = self.holders.get(contribution.blob_hash, set())
            if earned > len(command.contributions) and not holders & self.honest:
                self.report("accepted work is held", f"round {command.round}, {trainer}")

    def _check_named(self, before: State, command: CloseRound) -> None:
        """No teacher is named for good targets, unless liars alone are a quorum of the committee.

        An honest teacher's are good.
        """
        opened = before.open_rounds[0]
        present = {one.peer for one in before.active_members}.intersection(opened.committee)
        for refused in command.refused:
            teacher = opened.slots[refused.targets.slot].teacher
            if teacher in self.honest and len(present - self.honest) < _quorum(len(present)):
                self.report("no honest teacher is named", f"round {command.round}, {teacher}")
            self.named.add(teacher)

    def _check_ejected(self, peer: PeerId) -> None:
        if peer in self.honest:
            self.report("no honest peer is ejected", str(peer))

    def _check_points(self, state: State) -> None:
        kept = sum(account.points + account.epoch_points for account in state.accounts)
        if state.points_issued != kept + state.points_forfeited:
            self.report("points are conserved", f"height {state.height}")


def _quorum(size: int) -> int:
    return size * 2 // 3 + 1 if size > 3 else (size + 2) // 2
