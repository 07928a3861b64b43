"""tools/localnet's own logic, with stand-ins for peers: what it starts, notices, ends and says."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from localnet_parts.plan import identity_of
from wan_emulation.namespaces import why_unavailable

from psyche_p2p.config import load_run_config

ROOT = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("stand_in.py")
LOCALNET = [sys.executable, str(ROOT / "tools" / "_localnet.py")]
PROGRAM = ["--program", f"{sys.executable} {STAND_IN}"]
NANO = ["--config", str(ROOT / "configs" / "nano.toml"), "--headless"]
ENDLESS = {str(number): {"hold_at": 3, "child": True} for number in range(3)}
REASON = why_unavailable()
WAIT_S = 120

pytestmark = pytest.mark.slow


def environment(misfortunes: dict[str, Any] | None, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "STAND_IN": json.dumps(misfortunes or {}),
        "TMPDIR": str(folder),
    }


def localnet(
    folder: Path, *arguments: str, misfortunes: dict[str, Any] | None = None
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run to its end; the outcome is what --json wrote."""
    path = folder / "out.json"
    result = subprocess.run(
        [*LOCALNET, *PROGRAM, *NANO, "--json", str(path), *arguments],
        env=environment(misfortunes, folder),
        text=True,
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result, json.loads(path.read_text()) if path.exists() else {}


def launches(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "launches").read_text().splitlines()]


def options(words: list[str]) -> dict[str, str]:
    return dict(zip(words[1::2], words[2::2], strict=True))


def test_a_network_that_does_well(tmp_path: Path) -> None:
    result, outcome = localnet(tmp_path, "--exit-after-steps", "20", "--witnesses", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert list(outcome) == [
        "ok", "interrupted", "problems", "rounds", "roots_equal", "param_root", "loss_first",
        "loss_last", "heldout", "bytes_per_peer_round", "training_share", "seconds", "peers",
        "events",
    ]  # fmt: skip
    assert (outcome["ok"], outcome["problems"], outcome["rounds"]) == (True, [], 20)
    assert outcome["roots_equal"] is True
    assert len(outcome["param_root"]) == 64
    assert outcome["loss_first"] == 4.8
    assert outcome["loss_last"] == 3.3
    assert outcome["bytes_per_peer_round"] == 1000
    assert 0 < outcome["training_share"] <= 1
    shown = ("tier", "role", "rounds_trained", "exit_code")
    assert [tuple(peer[name] for name in shown) for peer in outcome["peers"]] == [
        (0, "trainer", 20, 0), (1, "trainer", 20, 0), (1, "trainer", 20, 0), (0, "witness", 0, 0),
    ]  # fmt: skip
    assert not any(outcome["events"].values())
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_what_peers_are_started_with(tmp_path: Path) -> None:
    work = tmp_path / "work"
    arguments = ["--tiers", "0,2", "--witnesses", "1", "--authority", "--seed", "7"]
    arguments += ["--exit-after-steps", "3", "--set", "rounds.pipeline_depth=0"]
    until_all_started = {"0": {"hold_at": 0, "until_launches": 3}}
    result, _ = localnet(tmp_path, *arguments, "--keep", str(work), misfortunes=until_all_started)
    assert result.returncode == 0, result.stdout + result.stderr
    config = load_run_config(work / "run.toml")
    first = identity_of(7, 0).peer_id
    assert config.committee.authorities == (first,)
    assert config.members.init_min_members == 3
    assert config.run.total_rounds == 3
    assert config.rounds.pipeline_depth == 0
    words = [launches(work / f"peer{number}")[0]["argv"] for number in range(3)]
    assert [each[0] for each in words] == ["start", "start", "witness"]
    given = [options(each) for each in words]
    assert "--bootstrap" not in given[0]
    assert given[0]["--run-file"] == str(work / "run.toml")
    assert [each.get("--tier") for each in given] == ["0", "2", None]
    for each in given[1:]:
        assert each["--bootstrap"] == f"/ip4/127.0.0.1/tcp/4001/p2p/{first}"
        assert each["--run"] == config.run.name
        assert "--run-file" not in each


@pytest.mark.parametrize(
    ("misfortune", "expected"),
    [
        ({"crash_at": 3}, "peer 1 ended with exit code 5: error: out of luck; buy some"),
        ({"leave_at": 3}, "peer 1 ended before the run was finished"),
        ({"wrong_root_at": 3}, "after round 3, level 0: peer "),
        ({"error_at": 3}, "peer 1 logged 1 errors, first: 12:00:00 ERROR gpu on fire"),
    ],
)
def test_what_goes_wrong_is_named_and_the_logs_are_kept(
    tmp_path: Path, misfortune: dict[str, int], expected: str
) -> None:
    result, outcome = localnet(
        tmp_path, "--exit-after-steps", "9", misfortunes={"1": misfortune}
    )  # fmt: skip
    assert result.returncode == 11
    assert outcome["ok"] is False
    assert any(problem.startswith(expected) for problem in outcome["problems"]), outcome["problems"]
    assert outcome["roots_equal"] is ("wrong_root_at" not in misfortune)
    (kept,) = tmp_path.glob("psyche-localnet-*")
    assert f"logs            {kept}" in result.stdout
    assert (kept / "peer1.log").exists()


@pytest.mark.parametrize(
    ("number", "patience_s", "misfortune", "expected"),
    [
        ("0", 2, {"never_start": True}, "peer 0 has not started, peer 1 waits for the first"),
        ("1", 8, {"never_start": True}, "peer 1 has not started"),
        ("2", 8, {"hold_at": 4}, "peer 2 is in TRAIN, round 3"),
    ],
)
def test_a_network_that_stands_still_is_given_up(
    tmp_path: Path, number: str, patience_s: int, misfortune: dict[str, Any], expected: str
) -> None:
    arguments = ["--exit-after-steps", "9", "--give-up-after-s", str(patience_s)]
    result, outcome = localnet(tmp_path, *arguments, misfortunes={number: misfortune})
    assert result.returncode == 11
    assert outcome["problems"][0].startswith(f"no progress for {patience_s} s: ")
    assert expected in outcome["problems"][0]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_killed_peer_is_started_again_with_its_home(tmp_path: Path, seed: int) -> None:
    victim = random.Random(seed).choice(range(3))
    held = {str(number): {"hold_at": 18, "until_launches": 4} for number in range(3)}
    arguments = ["--exit-after-steps", "20", "--kill-every", "0.2", "--seed", str(seed)]
    result, outcome = localnet(tmp_path, *arguments, "--keep", f"{tmp_path}/w", misfortunes=held)
    assert result.returncode == 0, result.stdout + result.stderr
    kills = outcome["events"]["kills"]
    assert identity_of(seed, victim).peer_id in [event["by"] for event in kills]
    assert len(outcome["events"]["restarts"]) == sum(event["count"] for event in kills)
    assert f"killing peer {victim}" in result.stdout
    assert (outcome["rounds"], outcome["roots_equal"]) == (20, True)
    address = options(launches(tmp_path / "w" / f"peer{victim}")[1]["argv"])["--bootstrap"]
    assert not address.endswith(identity_of(seed, victim).peer_id)  # of another one, that lives


def test_time_that_is_up_is_no_failure(tmp_path: Path) -> None:
    holding = {str(number): {"hold_at": 3} for number in range(3)}
    result, outcome = localnet(tmp_path, "--exit-after-s", "10", misfortunes=holding)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (outcome["ok"], outcome["rounds"]) == (True, 3)


@contextmanager
def endless_network(
    folder: Path, misfortunes: dict[str, Any]
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A network that is up and never ends, and open descriptors of all its processes."""
    arguments = ["--keep", str(folder / "work"), "--json", str(folder / "out.json")]
    with subprocess.Popen(
        [*LOCALNET, *PROGRAM, *NANO, *arguments],
        env=environment(misfortunes, folder),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            assert any("3 of 3 peers up, 3 of" in line for line in lines), "it never came up"
            homes = [folder / "work" / f"peer{number}" for number in range(3)]
            pids = [launch["pid"] for home in homes for launch in launches(home)]
            pids += [int((home / "child").read_text()) for home in homes]
            yield process, [os.pidfd_open(pid) for pid in pids]
        finally:
            process.kill()


def expect_all_ended(descriptors: list[int]) -> None:
    left = set(descriptors)
    while left:
        ended, _, _ = select.select(left, [], [], WAIT_S)
        assert ended, "a process outlived the network"
        left -= set(ended)
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with endless_network(tmp_path, ENDLESS) as (process, descriptors):
        process.send_signal(number)
        assert process.wait(WAIT_S) == 130
        expect_all_ended(descriptors)
    outcome = json.loads((tmp_path / "out.json").read_text())
    assert (outcome["ok"], outcome["interrupted"], outcome["problems"]) == (False, True, [])


def test_a_peer_that_will_not_leave_is_killed_and_named(tmp_path: Path) -> None:
    deaf = {**ENDLESS, "1": {**ENDLESS["1"], "deaf": True}}
    with endless_network(tmp_path, deaf) as (process, descriptors):
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        expect_all_ended(descriptors)
    outcome = json.loads((tmp_path / "out.json").read_text())
    assert outcome["problems"] == ["peer 1 did not leave within 5 s of Ctrl-C"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_peers_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    with endless_network(tmp_path, ENDLESS) as (process, descriptors):
        process.kill()
        expect_all_ended(descriptors[:3])
        for descriptor in descriptors[3:]:  # grandchildren are their peers' own affair
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_behind_slow_links_peers_listen_where_others_see_them(tmp_path: Path) -> None:
    work = tmp_path / "work"
    arguments = ["--wan", "5ms,0,100mbit", "--exit-after-steps", "3", "--keep", str(work)]
    result, _ = localnet(tmp_path, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    hosts = [options(launches(work / f"peer{n}")[0]["argv"])["--listen"] for n in range(3)]
    assert len(set(hosts)) == 3
    assert not any(host.startswith("127.") for host in hosts)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--tiers", "0,9"], 3, "tier 9 is not allowed; this run's model.max_tier is 2\n"),
        (["--tiers", "a"], 2, "is not a list like 0,1,1"),
        (["--set", "rounds.pipeline_depth"], 3, "this is not SECTION.KEY=VALUE"),
        (["--set", "round.pipeline_depth=1"], 3, "there is no section round"),
        (["--set", "rounds.pipline_depth=1"], 3, "did you mean rounds.pipeline_depth?"),
        (["--set", "rounds.pipeline_depth=2"], 3, "must be at most 1"),
        (["--synergy-ramp-rounds", "5"], 3, "set both synergy keys or neither"),
        (["--synergy-phase-a-rounds", "5"], 3, "set both synergy keys or neither"),
        (["--wan", "fast"], 2, "is not a delay"),
        (["--program", "/no/such/peer"], 10, "there is no program"),
        (["--keep", "."], 5, "this folder is not empty; name a new one"),
        (["--json", "nowhere/out.json"], 5, "there is no such folder; create it first"),
        (["--config", "nowhere.toml"], 3, "no such file; check the path"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_start_nothing(
    tmp_path: Path, arguments: list[str], code: int, expected: str
) -> None:
    result, outcome = localnet(tmp_path, *arguments)
    assert result.returncode == code, result.stderr
    assert expected in result.stderr
    assert not outcome
