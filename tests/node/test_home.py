"""A peer's folder: one peer at a time, the same identity and certificate after a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from psyche_p2p.clock import ManualClock
from psyche_p2p.errors import ResourceError
from psyche_p2p.ids import RunId
from psyche_p2p.node.home import Home

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS


def test_a_second_peer_in_the_same_folder_is_told_so(tmp_path: Path) -> None:
    second = Home(tmp_path)
    with Home(tmp_path).locked(), pytest.raises(ResourceError, match="another peer is running in"):
        second.locked().__enter__()
    with Home(tmp_path).locked():
        pass  # free again


def test_who_runs_in_a_folder_is_known_while_it_runs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.runner() is None
    with home.locked():
        assert Home(tmp_path).runner() == os.getpid()
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    assert home.runner() is None  # whatever the file still says


def test_identity_and_certificate_outlive_a_restart_until_they_must_be_renewed(
    tmp_path: Path,
) -> None:
    clock = ManualClock(NOW_MS)
    with Home(tmp_path).locked():
        identity = Home(tmp_path).identity()
        first = Home(tmp_path).certificate(identity, clock)
    clock.advance_ms(300 * DAY_MS)
    assert Home(tmp_path).identity() == identity
    assert Home(tmp_path).certificate(identity, clock) == first
    clock.advance_ms(60 * DAY_MS)
    renewed = Home(tmp_path).certificate(identity, clock)
    assert renewed.fingerprint != first.fingerprint
    assert Home(tmp_path).certificate(identity, clock) == renewed


def test_a_damaged_span_only_costs_a_new_certificate(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    home = Home(tmp_path)
    with home.locked():
        identity = home.identity()
        first = home.certificate(identity, clock)
    (tmp_path / "certificate").write_text("tomorrow")
    assert home.certificate(identity, clock) == first


def test_a_run_is_known_once_it_has_a_log(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folder = home.run_folder(RunId(b"r" * 32))
    assert home.known_runs() == []
    folder.log.write_bytes(b"x")
    assert home.known_runs() == [folder]
