"""A trainer that comes when the run is twenty rounds old: it gets the model, and takes part."""

from __future__ import annotations

from pathlib import Path

import pytest

from psyche_p2p.observe.events import Resynced
from tests.node.faults.network import Network

pytestmark = pytest.mark.slow

LATE = 20
EPOCHS = (
    "rounds.epoch_s=20",
    "rounds.warmup_s=15",
    "rounds.max_round_train_s=10",
    "rounds.cooldown_s=0.5",
    "members.waiting_for_members_extra_s=1.0",
    "members.init_min_members=2",
)


def test_a_joiner_at_round_twenty_reaches_the_same_root_and_contributes(tmp_path: Path) -> None:
    with Network(tmp_path, (0, 1), EPOCHS) as network:
        network.until(f"round {LATE} is closed", lambda: network.last_round >= LATE)
        joiner = network.join(0)
        network.until_back(joiner)
        network.until("it applied a round", lambda: bool(joiner.tally.roots))
        network.rounds_pass(2)
        network.require_equal_roots()
        assert min(joiner.tally.roots) > LATE, "it was spared the rounds before it came"
        assert network.noted(joiner, Resynced), "its parameters came from others"
        assert set(joiner.tally.roots) & set(network.peers[0].tally.roots)
