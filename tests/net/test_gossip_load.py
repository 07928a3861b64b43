"""A short run of the gossip benchmark: with a few peers and a real load, everything arrives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_message_reaches_every_peer() -> None:
    arguments = ["--peers", "4", "--rate", "60", "--seconds", "4", "--workers", "2"]
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "_bench.py", "gossip", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    figures = {
        line["figure"]: line["value"] for line in map(json.loads, result.stdout.splitlines())
    }
    assert figures["gossip.delivered"] == 1.0
    assert figures["gossip.unplanned"] == 0
    assert figures["gossip.p99"] < 5000, result.stdout
