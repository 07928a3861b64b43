"""Ctrl-C before the run has been entered: the peer ends in order, whatever it was waiting for."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from psyche_p2p.errors import ExitCode
from tests.node.faults.network import NANO
from tests.node.faults.operator import WAIT_S, begin, read_until

pytestmark = pytest.mark.slow

_BEGIN = ("--run-file", str(NANO))


def _stop_once_it_says(what: str, home: Path, command: str, *words: str) -> None:
    peer = begin(home, command, *words)
    try:
        read_until(peer, what)
        peer.send_signal(signal.SIGINT)
        _, said = peer.communicate(timeout=WAIT_S)
    finally:
        peer.kill()
        peer.communicate()
    assert "Traceback" not in said, said
    assert "error: " not in said, said
    assert peer.returncode == ExitCode.OK, said


def test_while_it_looks_for_a_run_that_nobody_has_begun(tmp_path: Path) -> None:
    lonely = begin(tmp_path / "lonely", "witness", *_BEGIN, "--run", "nano")
    try:
        address = read_until(lonely, "bootstrap=").split("bootstrap=")[1].strip()
        words = ("--bootstrap", address, "--run", "another")
        _stop_once_it_says("looking for the run", tmp_path / "searcher", "start", *words)
    finally:
        lonely.kill()
        lonely.communicate()


@pytest.mark.parametrize("moment", ["starting the trainer", "listening", "bootstrap="])
def test_while_its_trainer_loads(moment: str, tmp_path: Path) -> None:
    """The trainer ends without a word: nobody is left to hear that it is ready."""
    _stop_once_it_says(moment, tmp_path / "home", "start", *_BEGIN)
