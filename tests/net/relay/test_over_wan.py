"""The relay between three machines that are far apart and lose packets. Needs root."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from wan_emulation.namespaces import why_unavailable
from wan_emulation.profile import PathProfile
from wan_emulation.wan import Wan

ROOT = Path(__file__).parents[3]
REASON = why_unavailable()
PORT = "4002"
MEBIBYTES = 4


def actor(wan: Wan, peer: int, role: str, *more: str) -> list[str]:
    program = [sys.executable, "-m", "tests.net.relay.actor", role, wan.addresses[0], PORT]
    return wan.command(peer, [*program, *more])


@contextmanager
def on_stage(wan: Wan, peer: int, role: str) -> Iterator[None]:
    """A part that plays until the others are done."""
    command = actor(wan, peer, role)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_bytes_arrive_whole_over_a_lossy_network() -> None:
    path = PathProfile(delay_ms=20, loss=0.01, up_mbit=50, down_mbit=50)
    with ExitStack() as stack:
        wan = stack.enter_context(Wan([path] * 3, seed=3))
        stack.enter_context(on_stage(wan, 0, "relay"))
        stack.enter_context(on_stage(wan, 1, "hidden"))
        command = actor(wan, 2, "caller", str(MEBIBYTES))
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    least_s = 2 * MEBIBYTES * 8.388608 / 50  # the relay's uplink carries them there and back
    assert float(result.stdout) > least_s
    assert wan.counters is not None
    assert wan.counters.lost > 100
