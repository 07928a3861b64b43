"""An operator at the command line: commands that are to end by themselves, and what they say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from psyche_p2p.identity import Identity
from tests.node.faults.network import PEER, ROOT

WAIT_S = 120
NOBODY = Identity.from_seed(b"n" * 32)


def begin(
    home: Path, command: str, *words: str, program: Sequence[str] = PEER
) -> subprocess.Popen[str]:
    listen = [] if "--listen" in words else ["--listen", "127.0.0.1:0"]
    return subprocess.Popen(
        [*program, command, "--home", str(home), *listen, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and the one line that it says about it."""
    try:
        _, said = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    assert said.splitlines()[-1] == lines[0], said
    assert "; " in lines[0], f"no cure: {lines[0]}"
    return process.returncode, lines[0]


def refuse(home: Path, command: str, *words: str) -> tuple[int, str]:
    return end(begin(home, command, *words))


def read_until(process: subprocess.Popen[str], what: str) -> str:
    """What a process says next with these words in it."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if what in line:
            return line
    raise AssertionError(f"never said {what}: {''.join(said)}")


def ask(command: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What `psyche-peer run COMMAND` says, which takes part in nothing."""
    return subprocess.run(
        [*PEER, "run", command, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
