"""What agreement asks of the thing agreed on: a few pure questions about the head of the log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from psyche_p2p.ids import BlockHash, Height, PeerId, View
from psyche_p2p.wire import Block


@dataclass(frozen=True)
class Committee:
    """Who votes at a height, in proposer-independent order, and how many votes decide."""

    members: tuple[PeerId, ...]
    quorum: int

    @cached_property
    def voters(self) -> frozenset[PeerId]:
        return frozenset(self.members)

    @cached_property
    def honest_witness(self) -> int:
        """So many members say only what at least one honest member says too (f + 1)."""
        return self.most_liars + 1

    @cached_property
    def most_liars(self) -> int:
        """How many members may lie (f)."""
        return (len(self.members) - 1) // 3

    @cached_property
    def answers_for_memory(self) -> int:
        """So many others include an honest voter for any block that a quorum decided.

        A quorum less the one who asks, and these, among the others: more than f are in both.
        """
        return len(self.members) - self.quorum + self.most_liars + 1


class Application(Protocol):
    """The replicated state at the head of the log, with the blocks it would accept next.

    Every answer but `build_block` and `find_untimely` depends on the decided blocks alone, so all
    honest peers at the same height give the same one.
    """

    @property
    def height(self) -> Height:
        """The height to be decided next."""

    @property
    def head(self) -> BlockHash:
        """The hash of the last decided block."""

    def committee(self) -> Committee:
        """Who votes on the next block."""

    def proposer(self, view: View) -> PeerId:
        """Who proposes in a view of this height."""

    def is_member(self, peer: PeerId) -> bool:
        """Whether this peer may be in the committee of a height soon to come."""

    def build_block(self, view: View, now_ms: int) -> Block | None:
        """Our own block for this view, or None when there is nothing to decide."""

    def find_fault(self, block: Block) -> str | None:
        """Why no honest peer may accept the block; None if it is valid."""

    def find_untimely(self, block: Block, now_ms: int) -> str | None:
        """Why this peer, by its own clock and eyes, would not vote for the block yet."""

    def apply_block(self, block: Block) -> None:
        """Move the head past a decided block."""
