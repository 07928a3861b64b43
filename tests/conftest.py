"""What all tests share: sample sizes, and nothing that touches the network."""

from __future__ import annotations

import os

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
