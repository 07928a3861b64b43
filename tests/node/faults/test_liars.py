"""A member that lies about its work in every way, one way after the other, until it is ejected.

The liar is the last of four: it may be outvoted. It is dropped for what nobody can accept, comes
back in the next epoch as everyone may, and is banned for the one lie that proves itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from psyche_p2p.errors import ExitCode
from tests.node.faults.liar import TWO_BLOBS
from tests.node.faults.network import Network, liar
from tests.node.faults.test_faults import SHORT_EPOCHS, TIERS

pytestmark = pytest.mark.slow

# first the truth, so that the run learns how long a round takes: else it waits to the deadline
LIES = "truth,truth,truth,truth,flip-bits,anothers-blob,zeros,flip-served-bits"
REASONS = (
    "payload_hash: ",  # bits were flipped before the blob got its name
    "unexpected: ",  # another's blob says whose it is
    "it carries nothing",
    "not chunk 0 of blob",  # bits were flipped on the way
)


def test_every_lie_is_named_and_none_is_believed(tmp_path: Path) -> None:
    changes = (*SHORT_EPOCHS, "members.max_missed_rounds=3", "rounds.epoch_s=20")
    with Network(tmp_path, TIERS, changes, {3: liar(LIES)}, is_honest=range(3)) as network:
        *honest, culprit = network.peers
        for reason in REASONS:
            network.until_accused(honest, culprit, reason)
        network.until_changed(honest, culprit, "dropped")
        network.order(culprit, TWO_BLOBS)
        network.until_ended(culprit)
        assert culprit.exit_code == ExitCode.REJECTED
        network.until_accused(honest, culprit, "two contributions for one batch")
        network.until_changed(honest, culprit, "ejected")
        for peer in honest:
            assert all(not network.accusations(peer, other) for other in honest)
        network.until_back(*honest)
        network.require_equal_roots(besides=[culprit])
