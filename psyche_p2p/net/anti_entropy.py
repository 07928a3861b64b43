"""When to compare with whom, and what to do with the answer: anti-entropy without IO or a clock.

Every period a peer compares its digest with that of one random member; where they differ, both
sides end with the union (push-pull: Demers et al., 1987, whose analysis says that what a share `p`
of the peers lack is lacked by about `p * p` of them one exchange later).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psyche_p2p.ids import Height, PeerId
from psyche_p2p.net.statements import StatementPool
from psyche_p2p.wire import AntiEntropyDigest
from psyche_p2p.wire.bulk import PullRequest

_STRIKES = 3
_PENALTY_S = 60.0
MAX_BLOCKS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Exchange:
    """What to ask a member for, now that its digest is known."""

    pull: PullRequest | None
    """Our sets that differ from its own."""
    first_block: Height | None
    """Its log is longer than ours: blocks are missing from here on."""
    block_count: int = 0


class AntiEntropy:
    """One peer's side."""

    def __init__(
        self,
        pool: StatementPool,
        period_s: float,
        choose: Callable[[Sequence[PeerId]], PeerId],
    ) -> None:
        self._pool = pool
        self._period_s = period_s
        self._choose = choose
        self._next_at: float | None = None
        self._strikes: dict[PeerId, int] = {}
        self._shunned_until: dict[PeerId, float] = {}

    def next_deadline(self) -> float | None:
        """When to call `on_due`; None before the first time."""
        return self._next_at

    def on_due(self, members: Sequence[PeerId], now: float) -> PeerId | None:
        """The member to compare with now, of those that have not wasted our time."""
        self._next_at = now + self._period_s
        partners = [peer for peer in members if self._shunned_until.get(peer, 0.0) <= now]
        return self._choose(partners) if partners else None

    def on_digest(self, theirs: AntiEntropyDigest) -> Exchange:
        """Compare."""
        height = self._pool.frontier.height
        pull = self._pool.differing(theirs)
        behind = max(0, theirs.height - height)
        return Exchange(
            pull=pull if pull.sets else None,
            first_block=Height(height + 1) if behind else None,
            block_count=min(behind, MAX_BLOCKS_AT_ONCE),
        )

    def on_pulled(self, wanted: PullRequest, envelopes: Sequence[bytes]) -> list[bytes]:
        """Keep what is new; what to push, because the member asked for it.

        A WireError if the member sent something that is no statement, and so is at fault itself.
        """
        for envelope in envelopes:
            self._pool.accept(envelope)
        return self._pool.named(wanted)

    def on_failure(self, peer: PeerId, now: float) -> None:
        """The member could not be asked, or what it sent was not acceptable."""
        self._strikes[peer] = self._strikes.get(peer, 0) + 1
        if self._strikes[peer] >= _STRIKES:
            self._strikes[peer] = 0
            self._shunned_until = {
                one: until for one, until in self._shunned_until.items() if until > now
            }
            self._shunned_until[peer] = now + _PENALTY_S

    def on_success(self, peer: PeerId) -> None:
        """An exchange went well: what was before is forgiven."""
        self._strikes.pop(peer, None)

    def forgive(self, peer: PeerId) -> None:
        """It is reached another way now: what failed before says nothing."""
        self._strikes.pop(peer, None)
        self._shunned_until.pop(peer, None)
