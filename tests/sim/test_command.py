"""`python -m psyche_p2p.sim`: what it prints, draws, and says of a failure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from psyche_p2p.errors import ExitCode
from psyche_p2p.sim import __main__ as command
from psyche_p2p.sim.monitor import Violation
from psyche_p2p.sim.network import LinkModel
from psyche_p2p.sim.schedule import Fault, FaultKind, Lie, Schedule, random_schedule
from psyche_p2p.sim.shrink import reduce_schedule, replay_command, shrink
from psyche_p2p.sim.world import Result, World

FIGURES = {
    "rounds_decided",
    "violations",
    "messages_per_round",
    "bytes_per_round",
    "decide_latency_ms_p50",
    "virtual_s",
}


def test_json_figures() -> None:
    arguments = ["--peers", "7", "--liars", "2", "--loss", "0.05", "--rounds", "3", "--json"]
    result = CliRunner().invoke(command.simulate, arguments)
    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    assert figures.keys() >= FIGURES
    assert (figures["rounds_decided"], figures["violations"]) == (3, 0)


def test_too_many_liars_are_warned_about() -> None:
    result = CliRunner().invoke(command.simulate, ["--peers", "3", "--liars", "1", "--rounds", "1"])
    assert "3 peers tolerate 0 liars" in result.stderr


def test_the_timeline_shows_every_peer_and_fault(tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    arguments = ["--random", "--seed", "30", "--timeline", str(page)]
    result = CliRunner().invoke(command.simulate, arguments)
    assert result.exit_code == 0
    text = page.read_text()
    schedule = random_schedule(30)
    assert all(f"peer {index}" in text for index in range(schedule.peers))
    assert all(fault.kind.value in text for fault in schedule.faults)
    assert "block decided height 1 in view" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_a_page_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sim", "--rounds", "1", "--timeline", "/nowhere/out.html"])
    assert command.main() == ExitCode.STORAGE
    assert "create the folder first" in capsys.readouterr().err


def test_a_failing_seed_is_shrunk_and_can_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world that fails whenever a double voter is in it: all else is taken away."""

    class FakeWorld(World):
        def run(self, limit_ms: int) -> Result:
            lies = {lie for _, kinds in self.schedule.liars for lie in kinds}
            broken = (Violation(0, "fake", ""),) if Lie.DOUBLE_VOTER in lies else ()
            return Result(0, broken, 0, 0, 0, (), 0, False, 0, 0, 0)

    monkeypatch.setattr(command, "World", FakeWorld)
    arguments = ["--random", "--peers", "7", "--liars", "2", "--schedules", "50"]
    result = CliRunner().invoke(command.simulate, arguments)
    assert result.exit_code == ExitCode.INVALID
    described, _, again = result.stdout.rpartition("again: python -m psyche_p2p.sim ")
    assert described.count("lies:") == 1
    assert "Fault(" not in described
    assert CliRunner().invoke(command.simulate, again.split()).exit_code == ExitCode.INVALID


def test_shrinking_keeps_what_matters() -> None:
    storm = Fault(FaultKind.STORM, 10, 10, ())
    crash = Fault(FaultKind.CRASH, 20, 10, (0,))
    liars = ((1, (Lie.SILENT,)), (2, (Lie.FORGER,)))
    full = Schedule(4, 7, 3, LinkModel(loss=0.1), liars, (storm, crash))
    smallest = shrink(full, lambda one: crash in one.faults and 2 in one.liar_indices)
    assert smallest == replace(full, rounds=1, links=LinkModel(), liars=liars[1:], faults=(crash,))
    words = replay_command(smallest, full).split()
    assert words[words.index("--without") + 1] == "0"
    assert words[words.index("--truthful") + 1] == "1"
    assert reduce_schedule(full, (0,), (1,), clean_links=True) == replace(smallest, rounds=3)
