"""The life of a run: phases, epochs, draining, pausing, finishing."""

from __future__ import annotations

import pytest

from psyche_p2p.wire import Phase
from tests.coordinator.world import World, make_config


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("peers", [1, 2, 3, 4, 7])
def test_a_run_finishes_with_every_round_settled(depth: int, peers: int) -> None:
    world = World.start(make_config(rounds={"pipeline_depth": depth}), peers)
    world.run_until(Phase.FINISHED)
    assert world.state.closed_count == 20
    assert world.state.param_round == 20
    assert world.state.open_rounds == ()
