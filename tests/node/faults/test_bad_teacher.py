"""A teacher whose targets are no good: every witness says so, the log names it, the run goes on.

It is one of four and tells the truth in everything else, so that only its targets can give it away.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.faults.liar import BAD_TARGETS
from tests.node.faults.network import Network, liar

pytestmark = pytest.mark.slow

TIERS = (0, 1, 1, 0)
CHANGES = (
    "distillation.enabled=true",
    "distillation.start_round=3",
    "rounds.epoch_s=600",
    "members.init_min_members=4",
    "members.waiting_for_members_extra_s=1.0",
)


def test_who_teaches_badly_is_named_in_the_log_and_dropped(tmp_path: Path) -> None:
    with Network(tmp_path, TIERS, CHANGES, {3: liar(BAD_TARGETS)}) as network:
        *honest, culprit = network.peers
        network.until_accused(honest, culprit, "of the probability")  # who looked at it says why
        network.until_accused(honest, culprit, "3 witnesses refuse its targets")  # so does a block
        network.until_changed(honest, culprit, "dropped")
        network.until_back(*honest)  # the other teacher's students train again
        for peer in honest:
            assert all(not network.accusations(peer, other) for other in honest)
            assert all("dropped" not in network.changes(peer, other) for other in honest)
        network.require_equal_roots()
