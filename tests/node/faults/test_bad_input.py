"""What a peer is told whose operator made a mistake: one line, a cause and a cure, an exit code.

One peer has trained alone on a file of tokens. Newcomers come to it with everything wrong in turn;
it must not even notice.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from psyche_p2p.errors import ExitCode
from psyche_p2p.node.comparison import NOT_TOLD
from psyche_p2p.observe.events import Restarted, Stopped
from tests.node.faults.network import NANO, PEER, ROOT, Network, liar
from tests.node.faults.operator import begin, end, read_until, refuse
from tests.node.faults.other_python import make_stdlib
from tests.small_disk import small_disk

pytestmark = pytest.mark.slow

TOKENS = "corpus.bin"
ON_TOKENS = (
    "members.init_min_members=1",
    "data.provider=tokens",
    f'data.files=["{TOKENS}"]',
    "data.token_bytes=2",
)
# after one short epoch it rests, and leaves the processors to the newcomers
RESTING = (
    "rounds.epoch_s=30",
    "rounds.warmup_s=25",
    "rounds.max_round_train_s=25",
    "rounds.cooldown_s=900",
)


@dataclass(frozen=True)
class Host:
    """The peer that is in the run, and what others need to come to it."""

    network: Network
    folder: Path
    bootstrap: str
    name: str

    @property
    def run_file(self) -> str:
        return (self.folder / "network" / "run.toml").read_text()

    def coming(self, *words: str) -> list[str]:
        return ["--bootstrap", self.bootstrap, *words]


def write_tokens(folder: Path, seed: int) -> Path:
    folder.mkdir()
    (folder / TOKENS).write_bytes(
        bytes(byte for value in random.Random(seed).randbytes(100_000) for byte in (value, 0))
    )
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("bad-input")
    (folder / "network").mkdir()
    data = write_tokens(folder / "data", 1)
    with Network(folder / "network", (0,), ON_TOKENS + RESTING, data_dir=data) as network:
        tally = network.peers[0].tally
        found = re.search(r'^name = "(.*)"', (folder / "network" / "run.toml").read_text(), re.M)
        assert found is not None
        yield Host(network, folder, tally.addresses[0], found[1])
        network.update()  # it has not noticed any of it
        assert not network.noted(network.peers[0], Stopped)
        assert not network.noted(network.peers[0], Restarted)
        assert network.peers[0].error_lines() == []


@pytest.fixture(scope="module")
def founders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[subprocess.Popen[str]]]:
    """Two who are to begin a run together, each on its own Python."""
    folder = tmp_path_factory.mktemp("founders")
    run_file = folder / "run.toml"
    run_file.write_text(NANO.read_text().replace("[members]", "[members]\ninit_min_members = 2"))
    stdlib = make_stdlib(folder / "stdlib", "abc.py")
    trainer = shlex.join([sys.executable, "-m", "tests.node.faults.other_python", str(stdlib)])
    words = ["--tier", "2", "--threads", "1", "--run-file", str(run_file)]
    peers = [begin(folder / "one", "start", *words)]
    try:
        bootstrap = read_until(peers[0], "bootstrap=").split("bootstrap=")[1].strip()
        coming = [*words, "--bootstrap", bootstrap, "--trainer-command", trainer]
        peers.append(begin(folder / "other", "start", *coming))
        yield peers
    finally:
        for peer in peers:
            peer.kill()
            peer.communicate()


# What takes the whole patience of a newcomer is waited for together, and beside the other tests.


@pytest.fixture(scope="module", autouse=True)
def impatient(
    host: Host, founders: list[subprocess.Popen[str]]
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    forger_home = host.folder / "forger"
    forger_home.mkdir()
    run_file = host.folder / "forged.toml"
    run_file.write_text(NANO.read_text())
    helpers = [
        begin(forger_home, "witness", "--run-file", str(run_file), program=liar("other-config")),
        subprocess.Popen(
            [*PEER, "bootstrap", "--listen", "/ip4/127.0.0.1/tcp/0"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ),
    ]
    try:
        assert helpers[1].stdout is not None
        forger = read_until(helpers[0], "bootstrap=").split("bootstrap=")[1].strip()
        lonely = helpers[1].stdout.readline().strip()
        newcomers = {
            name: begin(host.folder / name, "witness", *words)
            for name, words in {
                "id": host.coming("--run", "ff" * 32),
                "name": host.coming("--run", "nonesuch"),
                "lonely": ["--bootstrap", lonely],
                "forged": ["--bootstrap", forger],
            }.items()
        }
        helpers += newcomers.values()
        yield newcomers
    finally:
        for helper in helpers:
            helper.kill()
            helper.communicate()


@pytest.mark.parametrize(
    ("old", "new", "code", "expected"),
    [
        (
            "hidden_size = 128",
            "hidden_size = 256",
            ExitCode.MODEL,
            r"schema mismatch: the run '.*' of this network has [0-9a-f]{64}, the run file "
            r"[0-9a-f]{64}; config.hidden_size is 128 there, 256 here; join it",
        ),
        (
            "sequence_length = 128",
            "sequence_length = 64",
            ExitCode.CONFIG,
            r"is [0-9a-f]{64}, the run file's [0-9a-f]{64}; data.sequence_length is 128 there, 64",
        ),
    ],
)
def test_a_run_file_that_is_not_the_networks(
    host: Host, tmp_path: Path, old: str, new: str, code: ExitCode, expected: str
) -> None:
    run_file = tmp_path / "run.toml"
    assert old in host.run_file
    run_file.write_text(host.run_file.replace(old, new))
    found, line = refuse(tmp_path / "home", "witness", *host.coming("--run-file", str(run_file)))
    assert (found, bool(re.search(expected, line))) == (code, True), line


def test_software_whose_model_is_another(host: Host, tmp_path: Path) -> None:
    words = host.coming("--run", host.name)
    code, line = end(begin(tmp_path / "home", "witness", *words, program=liar("other-schema")))
    assert code == ExitCode.MODEL, line
    hashes = "schema mismatch: the run has [0-9a-f]{64}, this software has [0-9a-f]{64}"
    assert re.search(f"{hashes}: config.qk_norm is \\(none\\) there, True here; use the", line), (
        line
    )


def test_a_run_and_a_run_file_that_differ(host: Host, tmp_path: Path) -> None:
    words = host.coming("--run", "another", "--run-file", str(host.folder / "network/run.toml"))
    code, line = refuse(tmp_path, "witness", *words)
    assert code == ExitCode.CONFIG
    assert "--run another is not the run of --run-file, which is nano-" in line


def test_data_that_differs(host: Host, tmp_path: Path) -> None:
    other = write_tokens(tmp_path / "other", 2)
    words = host.coming("--run", host.name, "--data-dir", str(other), "--threads", "1")
    code, line = refuse(tmp_path / "home", "start", *words)
    assert code == ExitCode.DATA, line
    assert "is not the run's" in line
    assert TOKENS in line  # which file


def test_too_little_memory(tmp_path: Path) -> None:
    run_file = tmp_path / "run.toml"
    huge = NANO.read_text().replace("intermediate_size = 512", "intermediate_size = 1048576")
    huge = huge.replace("hidden_size = 128", "hidden_size = 1024")
    run_file.write_text(huge.replace("max_tier = 2", "max_tier = 7"))
    code, line = refuse(tmp_path / "home", "start", "--run-file", str(run_file))
    assert code == ExitCode.RESOURCES, line
    said = r"tier 0 needs about \d+\.\d GB, this device has \d+\.\d GB; use --tier [1-7]"
    assert re.search(said, line), line


def test_a_second_peer_with_the_same_identity(host: Host, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(host.network.peers[0].home / "peer.key", home / "peer.key")
    code, line = refuse(home, "witness", *host.coming("--run", host.name))
    assert code == ExitCode.RESOURCES, line
    assert "identity" in line


def test_a_second_peer_in_the_same_home(host: Host) -> None:
    peer = host.network.peers[0]
    before = peer.events_path.read_bytes()
    code, line = refuse(peer.home, "witness", *host.coming("--run", host.name))
    assert code == ExitCode.RESOURCES
    assert "another peer is running in" in line
    after = peer.events_path.read_bytes()
    assert after.startswith(before)
    assert b'"stopped"' not in after


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_taken_port(host: Host, tmp_path: Path, step: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = host.coming("--run", host.name, "--listen", f"127.0.0.1:{port - step}")
        code, line = refuse(tmp_path, "witness", *words)
    assert code == ExitCode.RESOURCES, line
    assert str(port) in line


def test_a_disk_that_is_full(host: Host, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 16) as disk:
        (disk / "filler").write_bytes(bytes((1 << 16) - 8192))
        code, line = refuse(disk / "home", "witness", *host.coming("--run", host.name))
    assert code == ExitCode.STORAGE, line
    assert "No space left on device" in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("id", "no peer of run ffffffffff gives its configuration"),
        ("name", "nobody in this network is in a run named 'nonesuch', but in nano-"),
        ("lonely", "nobody in this network is in any run; check the bootstrap address"),
        ("forged", "gave a config whose hash differs: "),
    ],
)
def test_no_such_run(impatient: dict[str, subprocess.Popen[str]], name: str, expected: str) -> None:
    code, line = end(impatient[name])
    assert code == ExitCode.NETWORK, line
    assert expected in line


def test_founders_on_two_pythons(founders: list[subprocess.Popen[str]]) -> None:
    """Neither ends, for the other may be mended; each says which file differs."""
    for peer in founders:
        lines = (read_until(peer, "another has signed another beginning") for _ in range(5))
        line = next(line for line in lines if NOT_TOLD not in line)
        said = r'cause="abc.py differs: \d+ bytes of hash \w+ here, \d+ bytes of hash \w+ there"'
        assert re.search(said, line), line
