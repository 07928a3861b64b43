"""The README's commands: real networks of nano, in every shape that a run can have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
LEAST_DROP = 1.0
"""In nats, of the training loss: 5.0 to 3.6 in 16 rounds, where the bytes alone are worth 5.5."""

SHAPES = {
    "0,0,0": ["--tiers", "0,0,0"],
    "0,0,1": ["--tiers", "0,0,1"],
    "0,1,1": ["--tiers", "0,1,1"],
    "0,1,1,1": ["--tiers", "0,1,1,1"],
    "a witness": ["--tiers", "0,1,1", "--witnesses", "1"],
    "an authority": ["--tiers", "0,1,1", "--authority"],
    "no pipeline": ["--tiers", "0,1,1", "--set", "rounds.pipeline_depth=0"],
    "sparse_loco": ["--tiers", "0,1,1", "--set", "optimizer.kind=sparse_loco"],
    "distillation": ["--tiers", "0,1,1", "--set", "distillation.enabled=true"],
}


def run_localnet(folder: Path, *arguments: str, rounds: int) -> dict[str, Any]:
    """The network's summary; fails with what the tool said if the network did."""
    result = folder / "result.json"
    command = [sys.executable, str(ROOT / "tools" / "_localnet.py"), *arguments]
    command += ["--config", str(ROOT / "configs" / "nano.toml"), "--headless"]
    command += ["--exit-after-steps", str(rounds), "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(result.read_text())
    return summary


def require_good(summary: dict[str, Any], rounds: int) -> None:
    assert summary["ok"], summary["problems"]
    assert summary["rounds"] == rounds
    assert summary["roots_equal"]
    assert summary["loss_last"] < summary["loss_first"] - LEAST_DROP
    trainers = [peer for peer in summary["peers"] if peer["role"] == "trainer"]
    assert [peer["rounds_trained"] for peer in trainers] == [rounds] * len(trainers)
    events = summary["events"]
    assert not any(events[name] for name in ("drops", "ejections", "accusations", "divergences"))


def test_two_tiers_a_teacher_and_a_witness(tmp_path: Path) -> None:
    shape = ["--tiers", "0,1", "--witnesses", "1", "--set", "distillation.enabled=true"]
    require_good(run_localnet(tmp_path, *shape, rounds=16), rounds=16)


@pytest.mark.long
@pytest.mark.parametrize("name", SHAPES)
def test_a_network_of_every_shape(name: str, tmp_path: Path) -> None:
    require_good(run_localnet(tmp_path, *SHAPES[name], rounds=64), rounds=64)
