"""What all tests share: sample sizes, and nothing that touches the network."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are shared and noisy, so no test fails for being slow; a failing example is printed as a
# line that reproduces it.
for _name, _examples in (("fast", 20), ("default", 100), ("long", 3000)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("PSYCHE_TEST_SAMPLES", "default"))

# What starts daemons, processes or real training: `tools/test --fast` leaves it out.
_SLOW = (
    "blobs/test_store_processes.py",
    "coordinator/test_rounds.py",
    "interop",
    "model/test_helper.py",
    "model/test_training_curve.py",
    "net",
    "node/test_continue_network.py",
    "node/test_donors.py",
    "node/test_entering.py",
    "node/test_owner_network.py",
    "tools/test_compare_distillation.py",
    "tools/test_simulate_training.py",
)


# Started first: a file is one worker's, and whoever gets the longest last keeps all waiting.
_LONGEST = (
    "tools/soak",
    "node/faults/test_bad_input.py",
    "sim/test_schedules.py",
    "node/faults",
    "tools/localnet",
)

# A shell's background job ignores Ctrl-C, and so would everything that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(_is_in(item, place) for place in _SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    turns = (turn for turn, place in enumerate(_LONGEST) if _is_in(item, place))
    return next(turns, len(_LONGEST))


def _is_in(item: pytest.Item, place: str) -> bool:
    return item.path.is_relative_to(Path(__file__).parent / place)
