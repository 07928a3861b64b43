"""Real namespaces: what the links do, and that nothing outlives the network. Needs root."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from wan_emulation.namespaces import why_unavailable
from wan_emulation.probe import measure
from wan_emulation.profile import PathProfile
from wan_emulation.wan import Wan

from psyche_p2p.errors import ResourceError

TOOLS = Path(__file__).parents[3] / "tools"
REASON = why_unavailable()
needs_namespaces = pytest.mark.skipif(bool(REASON), reason=REASON)


def namespace_of(process: str) -> str:
    """The network namespace that a process lives in; empty for one that has ended."""
    try:
        return str((Path("/proc") / process / "ns" / "net").readlink())
    except OSError:
        return ""


def namespaces_on_this_machine() -> set[str]:
    """Every network namespace that a process lives in."""
    return {namespace_of(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}


def expect_all_ended(descriptors: list[int]) -> None:
    """Every process behind these files ends within 20 s."""
    left = set(descriptors)
    while left:
        ended, _, _ = select.select(left, [], [], 20)
        assert ended, "a process outlived the network"
        left -= set(ended)
    for descriptor in descriptors:
        os.close(descriptor)


@needs_namespaces
def test_peers_reach_each_other_and_nobody_else() -> None:
    listen = "import socket; s = socket.create_server(('{}', 7000)); print('up', flush=True); s.accept()[0].sendall(b'hello')"  # noqa: E501
    connect = "import socket; print(socket.create_connection(('{}', 7000), 5).recv(9))"
    with Wan([PathProfile(delay_ms=1)] * 2) as wan:
        server = subprocess.Popen(
            wan.command(0, [sys.executable, "-c", listen.format(wan.addresses[0])]),
            stdout=subprocess.PIPE,
        )
        with server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"up\n"
            outside = subprocess.run(
                [sys.executable, "-c", connect.format(wan.addresses[0]).replace("5", "0.3")],
                capture_output=True,
                check=False,
            )
            inside = subprocess.run(
                wan.command(1, [sys.executable, "-c", connect.format(wan.addresses[0])]),
                capture_output=True,
                check=False,
            )
    assert outside.returncode != 0
    assert inside.stdout == b"b'hello'\n"
    assert wan.counters is not None
    assert wan.counters.delivered > 5


@needs_namespaces
def test_nobody_begins_a_connection_with_a_closed_peer_and_it_does_with_others() -> None:
    listen = "import socket, sys; s = socket.create_server((sys.argv[1], 7000)); print('up', flush=True); s.accept()[0].sendall(b'hello')"  # noqa: E501
    connect = "import socket, sys; print(socket.create_connection((sys.argv[1], 7000), float(sys.argv[2])).recv(9))"  # noqa: E501
    with Wan([PathProfile(is_closed=True), PathProfile()]) as wan:

        def attempt(caller: int, called: int, patience_s: str) -> bytes:
            there = wan.addresses[called]
            begin = wan.command(called, [sys.executable, "-c", listen, there])
            dial = wan.command(caller, [sys.executable, "-c", connect, there, patience_s])
            with subprocess.Popen(begin, stdout=subprocess.PIPE) as server:
                assert server.stdout is not None
                assert server.stdout.readline() == b"up\n"
                result = subprocess.run(dial, capture_output=True, check=False)
                server.kill()
            return result.stdout

        assert attempt(0, 1, "20") == b"b'hello'\n"
        assert attempt(1, 0, "0.5") == b""


def start_sleeper(wan: Wan, peer: int) -> subprocess.Popen[bytes]:
    """A process that has arrived in a peer's namespace."""
    command = wan.command(peer, ["sh", "-c", "echo here; exec sleep 600"])
    sleeper = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert sleeper.stdout is not None
    with sleeper.stdout as output:
        assert output.readline() == b"here\n"
    return sleeper


@needs_namespaces
def test_nothing_is_left_after_a_plain_end() -> None:
    with Wan([PathProfile()] * 3) as wan:
        sleepers = [start_sleeper(wan, peer) for peer in range(3)]
        inside = {namespace_of(str(sleeper.pid)) for sleeper in sleepers}
    assert [sleeper.wait(10) for sleeper in sleepers] == [-signal.SIGKILL] * 3
    assert len(inside) == 3
    assert not inside & namespaces_on_this_machine()


def start_a_run() -> tuple[subprocess.Popen[bytes], list[int]]:
    """`tools/wan run` whose commands leave grandchildren behind; all pids, once all are there."""
    command = "sleep 600 & echo $! $$; wait"
    running = subprocess.Popen(
        [sys.executable, TOOLS / "_wan.py", "run", "--peers", "2", "--", "sh", "-c", command],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TOOLS.parent)},
    )
    assert running.stdout is not None
    lines = [running.stdout.readline() for _ in range(2)]
    return running, [int(pid) for line in lines for pid in line.split()]


@needs_namespaces
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_tool_is_killed(how: signal.Signals) -> None:
    running, pids = start_a_run()
    inside = {namespace_of(str(pid)) for pid in pids}
    descriptors = [os.pidfd_open(pid) for pid in pids]
    running.send_signal(how)
    expect_all_ended(descriptors)
    running.communicate(timeout=20)
    assert len(inside) == 2
    assert not inside & namespaces_on_this_machine()
    assert not Path("/sys/class/net/wan0").exists()


@needs_namespaces
def test_nothing_is_left_when_the_process_in_the_middle_is_killed() -> None:
    with Wan([PathProfile()] * 2) as wan:
        sleeper = start_sleeper(wan, 0)
        inside = namespace_of(str(sleeper.pid))
        os.kill(wan.switch_pid, signal.SIGKILL)
    assert sleeper.wait(10) == -signal.SIGKILL
    assert wan.counters is None
    assert inside not in namespaces_on_this_machine()


@needs_namespaces
@pytest.mark.slow
def test_delay_and_loss_are_what_was_asked() -> None:
    with Wan([PathProfile(delay_ms=50, loss=0.02)] * 2, seed=5) as wan:
        found = measure(wan, datagrams=1500, mebibytes=1)
    assert 100 <= found.rtt_p50_ms < 130  # a busy machine adds to it, nothing takes away
    assert found.loss == pytest.approx(0.02, abs=0.009)  # 3 sigma


@needs_namespaces
@pytest.mark.slow
def test_the_rate_is_what_was_asked() -> None:
    with Wan([PathProfile(delay_ms=5, up_mbit=20, down_mbit=20)] * 2) as wan:
        found = measure(wan, datagrams=10, mebibytes=6)
    headers = 1 - 52 / 1500
    assert 0.6 * 20 < found.tcp_mbit < 1.02 * 20 * headers


def test_a_machine_that_cannot_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ResourceError, match=r"need root; try: tools/wan proxy"):
        Wan([PathProfile()]).__enter__()


def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOLS / "_wan.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TOOLS.parent)},
    )


@needs_namespaces
def test_the_tool_fills_in_addresses_and_passes_the_exit_code_on() -> None:
    script = "echo {peer} {address} {first} {addresses}; exit {peer}"
    result = run_tool("run", "--peers", "2", "--peer", "1:5,0,10", "--", "sh", "-c", script)
    assert result.returncode == 1
    assert sorted(result.stdout.splitlines()) == [
        "0 10.77.0.1 10.77.0.1 10.77.0.1,10.77.0.2",
        "1 10.77.0.2 10.77.0.1 10.77.0.1,10.77.0.2",
    ]
    assert json.loads(result.stderr.partition("packets: ")[2])["lost"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--loss", "150%", "--", "true"], "a loss of 1.5"),
        (["run", "--peer", "2:5", "--", "true"], "N below 2"),
        (["run", "--peer", "1:5,oops", "--", "true"], "'oops' is not a loss"),
        (["run"], "Missing argument"),
        (["proxy", "--to", "nowhere"], "is not HOST:PORT"),
        (["measure", "--delay-ms", "-1"], "a delay of -1.0 ms"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str) -> None:
    result = run_tool(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
