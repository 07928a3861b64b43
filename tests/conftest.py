"""What all tests share: sample sizes, and nothing that touches the network."""

from __future__ import annotations

import os
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if any(item.path.is_relative_to(here / place) for place in _SLOW):
            item.add_marker(pytest.mark.slow)
