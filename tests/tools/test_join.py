"""The bars of a late join of a 400 MB model, by the benchmark that measures them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from wan_emulation.namespaces import why_unavailable

ROOT = Path(__file__).resolve().parents[2]
CASES = ("link", "uplinks", "liar", "killed", "frozen", "asleep")


@pytest.mark.long
@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable())
def test_a_late_joiner_gets_what_its_link_and_its_donors_allow() -> None:
    cases = [word for case in CASES for word in ("--case", case)]
    words = [sys.executable, str(ROOT / "tools" / "_bench.py"), "join", "--check", *cases]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
