"""`psyche-peer run status|withdraw` where no network is needed; the rest is in tests/node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from psyche_p2p.cli.main import main
from psyche_p2p.cli.run_report import report_run, run_sheets
from psyche_p2p.errors import ExitCode
from psyche_p2p.ids import Height
from psyche_p2p.wire import Phase
from tests.coordinator.world import World, identity, make_config

_PEER = """
import signal, sys
from pathlib import Path
from psyche_p2p.node.home import Home
with Home(Path(sys.argv[1])).locked():
    print("in", flush=True)
    print(signal.sigwait({signal.SIGINT}).name, flush=True)
"""
_BLOCKED = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    code = stopped.value.code
    assert isinstance(code, int)
    return code


def test_withdraw_tells_the_peer_in_the_folder_and_waits_until_it_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", _BLOCKED + _PEER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdout is not None
        assert peer.stdout.readline() == "in\n"
        assert run("withdraw", "--home", str(tmp_path)) == ExitCode.OK
        assert peer.stdout.readline() == "SIGINT\n"
    assert capsys.readouterr().out == f"the peer in {tmp_path} has left\n"


def test_withdraw_says_when_it_takes_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deaf = _BLOCKED + _PEER.replace("SIGINT}", "SIGTERM}").replace(
        "with Home", "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\nwith Home"
    )
    command = [sys.executable, "-c", deaf, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdout is not None
        assert peer.stdout.readline() == "in\n"
        assert run("withdraw", "--home", str(tmp_path), "--wait", "0.2") == ExitCode.NETWORK
        peer.terminate()
    assert f"process {peer.pid} was told to leave and has not ended" in capsys.readouterr().err


def test_withdraw_where_no_peer_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("withdraw", "--home", str(tmp_path)) == ExitCode.RESOURCES
    assert f"error: no peer is running in '{tmp_path}'" in capsys.readouterr().err


def test_a_report_of_a_run_names_members_by_status_tier_and_points() -> None:
    config = make_config(run={"owner": identity(60).peer_id})
    world = World.start(config, 3)
    world.run_until(Phase.TRAIN, rounds=3)
    heights = {identity(2).peer_id: Height(7), identity(1).peer_id: Height(9)}
    report = report_run(config, world.state, heights)
    assert (report["phase"], report["round"], report["height"]) == ("TRAIN", 3, world.state.height)
    assert report["param_root"] == world.state.param_root.hex()
    assert report["answered"] == {identity(2).peer_id: 7, identity(1).peer_id: 9}
    assert {row["peer"] for row in report["members"]} == {identity(i).peer_id for i in (1, 2, 3)}
    assert {row["status"] for row in report["members"]} == {"active"}
    assert all(row["epoch_points"] > 0 for row in report["members"])
    facts, members = run_sheets(report)
    assert ("rounds settled", "3 of 20") in facts.rows
    assert members.rows[0][1:4] == ("active", "0", "trainer+witness")


def test_a_report_of_a_run_that_has_not_begun() -> None:
    report = report_run(make_config(), None, {})
    assert report["phase"] == "NOT_BEGUN"
    facts, members = run_sheets(report)
    assert ("answered (height)", "nobody") in facts.rows
    assert members.rows == ()
