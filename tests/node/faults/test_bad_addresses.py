"""Bad addresses, an order that nobody may give, a strange checkpoint: refused in one line.

The network is one witness that waits for its run to begin: all of this ends before there is one.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from psyche_p2p.errors import ExitCode
from psyche_p2p.keyfile import save_key
from tests.node.faults.network import NANO
from tests.node.faults.operator import NOBODY, ask, begin, read_until, refuse

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the witness, which is still there at the end."""
    home = tmp_path_factory.mktemp("witness")
    witness = begin(home, "witness", "--run-file", str(NANO))
    try:
        yield read_until(witness, "bootstrap=").split("bootstrap=")[1].strip()
        assert witness.poll() is None
    finally:
        witness.kill()
        witness.communicate()


def test_an_address_that_is_none(tmp_path: Path) -> None:
    code, line = refuse(tmp_path, "witness", "--bootstrap", "127.0.0.1:4001")
    assert code == ExitCode.CONFIG, line
    assert "'127.0.0.1:4001' is not an address: it does not begin with a slash; write it" in line


def test_another_peer_behind_the_address(bootstrap: str, tmp_path: Path) -> None:
    nobody = bootstrap.rpartition("/")[0] + f"/{NOBODY.peer_id}"
    code, line = refuse(tmp_path, "witness", "--bootstrap", nobody)
    assert code == ExitCode.CONFIG, line
    assert f"another peer than {NOBODY.peer_id}" in line


def test_one_address_that_works_among_dead_ones_is_enough(bootstrap: str, tmp_path: Path) -> None:
    """The network is reached: only it can say that the run file is not its run's."""
    dead = [f"/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY.peer_id}" for port in (1, 2, 3)]
    run_file = tmp_path / "run.toml"
    run_file.write_text(NANO.read_text().replace("hidden_size = 128", "hidden_size = 256"))
    words = [word for address in dead for word in ("--bootstrap", address)]
    words += ["--bootstrap", bootstrap, "--run-file", str(run_file)]
    code, line = refuse(tmp_path / "home", "witness", *words)
    assert code == ExitCode.MODEL, line
    assert "config.hidden_size is 128 there, 256 here" in line


def test_a_peer_with_ipv6_alone_is_found_and_asked(tmp_path: Path) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    words = ["--run-file", str(NANO), "--listen", "[::1]:0"]
    peer = begin(tmp_path / "six", "witness", *words)
    try:
        address = read_until(peer, "bootstrap=").split("bootstrap=")[1].strip()
        assert address.startswith("/ip6/::1/tcp/")
        asked = ask("status", "--json", "--bootstrap", address, "--home", str(tmp_path))
        assert asked.returncode == ExitCode.OK, asked.stderr
        report = json.loads(asked.stdout)
        assert (report["name"], report["phase"]) == ("nano", "NOT_BEGUN")
        assert list(report["answered"]) == [address.rpartition("/")[2]]
    finally:
        peer.kill()
        peer.communicate()


def test_an_order_of_nobody_who_may_give_one(bootstrap: str, tmp_path: Path) -> None:
    save_key(NOBODY, tmp_path / "key")
    words = ["--key", str(tmp_path / "key"), "--home", str(tmp_path)]
    asked = ask("pause", "--bootstrap", bootstrap, *words)
    assert asked.returncode == ExitCode.REJECTED, asked.stderr
    said = "error: run nano has no owner; only run.owner in its configuration gives it one"
    assert asked.stderr.splitlines()[-1] == said


def test_a_checkpoint_that_is_not_the_runs(bootstrap: str, tmp_path: Path) -> None:
    made = ask("create", str(NANO), "--out", str(tmp_path / "other"))
    assert made.returncode == ExitCode.OK, made.stderr
    words = ["--bootstrap", bootstrap, "--run", "nano", "--tier", "2", "--threads", "1"]
    words += ["--checkpoint", str(tmp_path / "other" / "checkpoint")]
    code, line = refuse(tmp_path / "home", "start", *words)
    assert code == ExitCode.CONFIG, line
    assert "begins with the parameters that its seed draws, not with a checkpoint" in line


@pytest.mark.long
def test_nobody_at_the_bootstrap_address(tmp_path: Path) -> None:
    words = ["--bootstrap", f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY.peer_id}"]
    code, line = refuse(tmp_path, "witness", *words)
    assert code == ExitCode.NETWORK, line
    assert "127.0.0.1/tcp/1" in line
