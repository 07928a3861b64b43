"""`tools/bench endurance`: a peer does not grow, however many rounds it has lived through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROUNDS = 1500
_MOST = {"rss": 1.0, "files": 8.0, "threads": 1.0, "tasks": 4.0, "objects": 2000.0}
"""Of the last third of the rounds. Before it the node grew by 3 MiB or more in as many."""


@pytest.mark.long
def test_a_peer_does_not_grow() -> None:
    bench = [
        sys.executable,
        str(ROOT / "tools" / "_bench.py"),
        "endurance",
        "--rounds",
        str(_ROUNDS),
    ]
    done = subprocess.run(bench, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    figures = {one["figure"]: one for one in map(json.loads, done.stdout.splitlines())}
    grown = {name: figures[f"endurance.{name}"]["since_middle"] for name in _MOST}
    assert all(grown[name] <= _MOST[name] for name in _MOST), grown
