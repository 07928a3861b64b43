"""tools/compare-distillation: arms are run once each, kept, and compared at equal seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/_compare_distillation.py", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)


@pytest.mark.slow
def test_arms_are_run_once_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    common = ["--seeds", "2", "--steps", "6", "--heldout-samples", "32"]
    common += ["--results", str(path)]
    first = compare("--arms", "alone,both,kd-average", *common)
    assert first.returncode == 0, first.stderr
    results = json.loads(path.read_text())
    assert len(results) == 8
    assert results["both/seed0/steps6"]["distillation_stats"] == []  # every 50 rounds, from 0 on
    rows = {row["arm"]: row for row in map(json.loads, first.stdout.splitlines())}
    assert list(rows) == ["alone", "both", "kd-average"]
    for row in rows.values():
        reference = [results[f"mixed/seed{seed}/steps6"]["heldout"]["tier0"] for seed in (0, 1)]
        wanted = [a - b for a, b in zip(row["losses"], reference, strict=True)]
        assert row["differences"] == pytest.approx(wanted, abs=1e-4)
        half = abs(wanted[0] - wanted[1]) / 2
        assert row["half_width"] == pytest.approx(12.706 * half, abs=2e-3)
    again = compare("--arms", "alone,both,kd-average", *common)
    assert again.stdout == first.stdout
    assert again.stderr == ""


def test_an_unknown_arm_is_refused(tmp_path: Path) -> None:
    result = compare("--arms", "mixed,left", "--results", str(tmp_path / "r.json"))
    assert result.returncode == 2
    assert "'left' is none of" in result.stderr
    assert "Traceback" not in result.stderr
