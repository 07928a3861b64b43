"""tools/soak with real peers, for a minute by default and for half an hour with --long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.localnet.test_localnet import STAND_IN

ROOT = Path(__file__).parents[3]
SOAK = [sys.executable, str(ROOT / "tools" / "_soak.py"), "--headless", "--kill-every", "10"]
PEER = f"{Path(sys.executable).with_name('psyche-peer')}"
LIES = ",".join(["truth"] * 20 + ["flip-bits"] + ["truth"] * 20 + ["zeros", "flip-served-bits"])
LIAR = f"{sys.executable} -m tests.node.faults.liar {LIES}"
# the time around it: start-up, and the last one's way back (twice the limit of the watchdog)
_AROUND_S = 600


def soak(folder: Path, minutes: float, *arguments: str, **misfortunes: Any) -> dict[str, Any]:
    """What it reports; everything it said, if that is not a report."""
    report = folder / "report.json"
    words = ["--minutes", str(minutes), "--json", str(report), "--keep", str(folder / "work")]
    result = subprocess.run(
        [*SOAK, *words, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "STAND_IN": json.dumps(misfortunes)},
        text=True,
        capture_output=True,
        timeout=60 * minutes + _AROUND_S,
        check=False,
    )
    assert report.exists(), result.stdout + result.stderr
    values: dict[str, Any] = json.loads(report.read_text())
    assert result.returncode == (0 if values["ok"] else 11), result.stderr
    return values


def require_unharmed(report: dict[str, Any]) -> None:
    assert not report["problems"]
    assert report["disagreements"] == []
    assert report["compared"] > report["rounds"], "roots were compared in every round"


@pytest.mark.slow
def test_three_minutes_of_trouble(tmp_path: Path) -> None:
    report = soak(tmp_path, 3, "--peers", "5", "--kill-every", "10", "--program", PEER)
    require_unharmed(report)
    assert report["rounds"] >= 30
    assert sum(trouble["count"] for trouble in report["troubles"].values()) >= 6


@pytest.mark.long
def test_half_an_hour_of_trouble_with_a_liar(tmp_path: Path) -> None:
    report = soak(tmp_path, 30, "--peers", "5", "--program", PEER, "--liar-program", LIAR)
    require_unharmed(report)
    assert report["rounds"] >= 300
    assert all(trouble["count"] for trouble in report["troubles"].values())
    assert report["accusations"], "the liar was never caught"
    assert not report["ejections"], "nobody did what is proven by itself"


STAND_INS = ("--peers", "3", "--joins", "0", "--program", f"{sys.executable} {STAND_IN}")


@pytest.mark.slow
def test_a_network_that_stands_still_is_noticed(tmp_path: Path) -> None:
    holds = {str(number): {"hold_at": 5} for number in range(3)}
    report = soak(tmp_path, 1, *STAND_INS, "--stall-s", "3", **holds)
    (problem, *_) = report["problems"]
    assert problem.startswith("no round closed for 3 s: peer 0 is in TRAIN, round 4")


@pytest.mark.slow
def test_parameters_that_differ_in_one_round_are_noticed(tmp_path: Path) -> None:
    wrong = {"2": {"wrong_root_at": 7}}
    report = soak(tmp_path, 0.05, *STAND_INS, "--stall-s", "20", **wrong)
    assert len(report["disagreements"]) == 2  # one for each level that it holds
    assert all("after round 7" in one for one in report["disagreements"])
    assert not report["ok"]


@pytest.mark.slow
def test_a_peer_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    report = soak(tmp_path, 1, *STAND_INS, "--stall-s", "20", **{"1": {"crash_at": 20}})
    (problem, *_) = report["problems"]
    assert problem == "peer 1 ended with exit code 5: error: out of luck; buy some"
