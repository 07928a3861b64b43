"""tools/simulate-training: peers of all tiers and kinds train together and stay one model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/_simulate_training.py", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--tiers", "0,1,2", "--steps", "4", "--delay", "1"],
        ["--tiers", "1,2", "--steps", "4", "--optimizer", "sparse_loco", "--inner-steps", "2"],
        ["--tiers", "0", "--steps", "4", "--optimizer", "adamw"],
    ],
    ids=" ".join,
)
def test_a_few_steps_lower_the_loss(arguments: list[str]) -> None:
    """The tool itself fails if the peers' masters differ by a bit at the end."""
    result = simulate(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert all(loss < 5.5 for loss in outcome["heldout"].values())  # ln 256 is 5.545


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tiers", "0,x"],
        ["--tiers", "3"],
        ["--tiers", "0,0", "--optimizer", "adamw"],
        ["--optimizer", "sparse_loco", "--steps", "7"],
    ],
    ids=" ".join,
)
def test_nonsense_is_refused_in_one_line(arguments: list[str]) -> None:
    result = simulate(*arguments)
    assert result.returncode == 2
    assert "--" in result.stderr
    assert "Traceback" not in result.stderr
