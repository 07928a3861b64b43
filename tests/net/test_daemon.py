"""The daemon as its users meet it: it starts, it dies and comes back, it leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from psyche_p2p.errors import ConfigError, ResourceError, Unavailable
from psyche_p2p.identity import Identity
from psyche_p2p.net.daemon import Daemon, DaemonConfig, DaemonDied, DaemonEvent, DaemonStarted
from psyche_p2p.net.listen import reserve_ports
from psyche_p2p.net.multiaddr import parse_multiaddr
from tests.net.real import LOOPBACK, daemon_of, daemons, identity_of, kill, run

SHUTDOWN_S = 3.0


def test_it_runs_with_our_identity_in_a_folder_of_our_own() -> None:
    async def test() -> None:
        async with daemon_of("alice") as daemon:
            peer, addresses = await daemon.control.identify()
            assert peer == daemon.peer_id == identity_of("alice").peer_id
            assert addresses == daemon.listen
            assert stat.S_IMODE(daemon.folder.stat().st_mode) == 0o700
            assert [path.name for path in daemon.folder.iterdir()] == ["control.sock"]

    run(test())


def test_shutdown_is_quick_and_leaves_no_process_and_no_file() -> None:
    async def test() -> None:
        async with daemons("alice", "bob") as (alice, bob):
            pids = [_pid(alice), _pid(bob)]
            folders = [alice.folder, bob.folder]
            began = time.monotonic()
        assert time.monotonic() - began < SHUTDOWN_S
        assert not any(_is_alive(pid) for pid in pids)
        assert not any(folder.exists() for folder in folders)
        with pytest.raises(Unavailable, match="not running"):
            _ = alice.control

    run(test())


def test_a_killed_daemon_comes_back_at_the_same_address_and_is_counted() -> None:
    async def test() -> None:
        events: list[DaemonEvent] = []
        async with daemon_of("alice", events.append) as daemon, daemon_of("bob") as bob:
            began = time.monotonic()
            kill(daemon)
            assert await daemon.running(after_generation=0) == 1
            await bob.control.connect(daemon.peer_id, daemon.listen)
            assert time.monotonic() - began < 5.0
            assert daemon.restarts == 1
        started, died, restarted = events
        assert (started, restarted) == (DaemonStarted(0), DaemonStarted(1))
        assert isinstance(died, DaemonDied)
        assert died.exit_code == -signal.SIGKILL

    run(test())


def test_what_waits_for_a_daemon_that_dies_fails_at_once() -> None:
    async def test() -> None:
        async with daemon_of("alice") as daemon:
            control, generation = daemon.control, daemon.generation

            subscribed = asyncio.Event()

            async def listen() -> None:
                async with control.subscribe("topic") as messages:
                    subscribed.set()
                    async for _ in messages:
                        pass

            silent = parse_multiaddr("/ip4/192.0.2.1/tcp/4001")  # nobody answers there
            waiting = [
                asyncio.create_task(listen()),
                asyncio.create_task(control.connect(identity_of("bob").peer_id, [silent])),
            ]
            await subscribed.wait()
            kill(daemon)
            await daemon.stopped(generation)
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(result) for result in results] == [Unavailable, Unavailable]

    run(test())


def test_it_dies_with_us() -> None:
    code = (
        "import asyncio, os, sys\n"
        "from tests.net.real import daemon_of\n"
        "async def main():\n"
        "    async with daemon_of('orphan') as daemon:\n"
        "        print(daemon._process.pid, daemon.folder, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert _is_alive(int(pid))
        parent.kill()
        parent.wait()
    _wait_until_dead(int(pid))
    (Path(folder) / "control.sock").unlink(missing_ok=True)
    Path(folder).rmdir()


def test_a_taken_port_and_a_foreign_address_are_one_line() -> None:
    async def start(listen: str) -> None:
        async with Daemon(DaemonConfig(identity_of("bob"), listen=(parse_multiaddr(listen),))):
            pass

    async def test() -> None:
        async with daemon_of("alice") as alice:
            with pytest.raises(ResourceError, match=f"port {alice.listen[0].port} .* is taken"):
                await start(str(alice.listen[0]))
        with pytest.raises(ConfigError, match="none of the addresses"):
            await start("/ip4/203.0.113.9/tcp/4001")

    run(test())


def test_a_peer_that_is_not_there_is_one_line() -> None:
    async def test() -> None:
        async with daemons("alice", "bob") as (alice, bob):
            nobody = Identity.from_seed(b"n" * 32).peer_id
            with pytest.raises(Unavailable, match="nobody listens there"):
                await alice.control.connect(nobody, [parse_multiaddr("/ip4/127.0.0.1/tcp/1")])
            with pytest.raises(
                ConfigError, match=f"another peer than {identity_of('eve').peer_id}"
            ):
                await alice.control.connect(identity_of("eve").peer_id, bob.listen)
            with pytest.raises(Unavailable, match="that is this peer itself"):
                await alice.control.connect(alice.peer_id, alice.listen)

    run(test())


def test_a_machine_with_ipv6_alone_is_enough() -> None:
    listen = (parse_multiaddr("/ip6/::1/tcp/0"),)
    try:
        (reserved,) = reserve_ports(listen)
    except ConfigError:
        pytest.skip("this machine has no IPv6 loopback")
    assert reserved.host == "::1"

    async def test() -> None:
        config = DaemonConfig(identity_of("six"), listen=(reserved,))
        async with Daemon(config) as six, daemon_of("alice") as alice:
            await alice.control.connect(six.peer_id, six.listen)
            assert six.peer_id in await alice.control.connected_peers()

    run(test())


def test_a_long_temporary_folder_does_not_break_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))

    async def test() -> None:
        async with Daemon(DaemonConfig(identity_of("deep"), listen=LOOPBACK)) as daemon:
            assert await daemon.control.connected_peers() == frozenset()

    run(test())
    assert list(deep.iterdir()) == []


def _pid(daemon: Daemon) -> int:
    assert daemon._process is not None
    return daemon._process.pid


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + 10
    while _is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlived its parent"
        os.sched_yield()
