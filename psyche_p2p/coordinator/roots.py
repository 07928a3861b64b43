"""The parameter roots of all tiers: who can speak for which, and what they agree on.

A vector of roots goes from the smallest tier outwards: place 0 is root(max_tier), the last of the
whole vector is root(0), the full model's (docs/protocol.md, "Param root"). Each contains the one
before it, so a member of tier t can compute a beginning of the vector, and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.coordinator.rules import Rules
from psyche_p2p.errors import Rejected
from psyche_p2p.hashing import DIGEST_BYTES
from psyche_p2p.ids import ParamRoot, PeerId
from psyche_p2p.wire.messages import Join, Role

UNHELD = ParamRoot(bytes(DIGEST_BYTES))
"""Stands where no member holds a tier's parameters any more, so that nobody vouches for them."""


def count_roots(rules: Rules, join: Join) -> int:
    """How many places of the vector a peer with this join can compute; none without a model."""
    return rules.max_tier - join.tier + 1 if Role.TRAINER in join.roles else 0


def count_known(roots: Sequence[ParamRoot]) -> int:
    """How many places of the run's vector somebody vouches for."""
    return next((place for place, root in enumerate(roots) if root == UNHELD), len(roots))


def require_whole_vector(rules: Rules, roots: Sequence[ParamRoot]) -> None:
    """Rejected unless there is one root for every tier of the run."""
    expected = rules.max_tier + 1
    if len(roots) != expected:
        raise Rejected(f"{len(roots)} param roots, this run has {expected} tiers")


def find_agreed(
    said: Mapping[PeerId, tuple[ParamRoot, ...]], holders: Sequence[frozenset[PeerId]]
) -> tuple[ParamRoot, ...] | None:
    """The vector of which every place was reached by a quorum of its holders; None without one.

    A vector that differs from what was agreed for a smaller tier counts for no larger one, which
    contains it. Where nobody holds anything stands UNHELD.
    """
    agreed: tuple[ParamRoot, ...] = ()
    for place, peers in enumerate(holders):
        vectors = (said[peer] for peer in peers if peer in said)
        reached = Counter(one[place] for one in vectors if one[:place] == agreed)
        quorum = compute_quorum(len(peers))
        settled = sorted(root for root, votes in reached.items() if votes >= quorum)
        if peers and not settled:
            return None
        agreed += (settled[0] if peers else UNHELD,)
    return agreed
