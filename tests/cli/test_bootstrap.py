"""`psyche-peer bootstrap` as an operator meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from psyche_p2p.errors import ExitCode
from psyche_p2p.net.multiaddr import require_peer_address
from psyche_p2p.net.relay.address import parse_relay_address
from tests.cli.test_main import refused

LOOPBACK = ("--listen", "/ip4/127.0.0.1/tcp/0")
EXIT_S = 20.0  # most of it the interpreter unloading torch on a busy machine


@contextmanager
def bootstrap(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    code = "from psyche_p2p.cli.main import main; main()"
    command = [sys.executable, "-c", code, "bootstrap", *LOOPBACK, *arguments]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    with bootstrap(tmp_path) as process:
        require_peer_address(first_line(process))
        assert process.stderr is not None
        assert "ready" in process.stderr.readline()
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait() == ExitCode.OK
        assert time.monotonic() - began < EXIT_S
        assert process.stderr.read() == ""
    assert list(tmp_path.glob("psyche-*")) == []


@pytest.mark.slow
def test_a_second_one_joins_the_first(tmp_path: Path) -> None:
    with bootstrap(tmp_path, "--json") as first:
        said = json.loads(first_line(first))
        (address,) = said["addresses"]
        assert said["relay"] is None
        with bootstrap(tmp_path, "--peer", address, "--relay", "--json") as second:
            said = json.loads(first_line(second))
            assert require_peer_address(said["addresses"][0]).peer == said["peer_id"]
            relay = parse_relay_address(said["relay"])
            assert (relay.host, relay.peer) == ("127.0.0.1", said["peer_id"])


def test_a_malformed_address_is_one_line_and_exit_code_3() -> None:
    code, line = refused("bootstrap", "--listen", "/ip4/127.0.0.1/tcq/1")
    assert code is ExitCode.CONFIG
    assert "'tcq' is not a protocol this peer speaks; write it like" in line
    code, line = refused("bootstrap", "--peer", "/ip4/127.0.0.1/tcp/1")
    assert (code, "does not say which peer" in line) == (ExitCode.CONFIG, True)


@pytest.mark.parametrize(
    "words",
    [
        ("bootstrap", "--announce", "/ip4/203.0.113.7/tcp/0"),
        ("start", "--run-file", "run.toml", "--announce", "203.0.113.7"),
        ("witness", "--run-file", "run.toml", "--announce", "203.0.113.7", "--listen", "0.0.0.0"),
    ],
)
def test_an_address_to_give_to_others_needs_a_port(words: tuple[str, ...]) -> None:
    code, line = refused(*words)
    assert code is ExitCode.CONFIG
    assert line.startswith("error: --announce ")
    assert "--listen" in line
