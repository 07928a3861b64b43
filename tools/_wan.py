"""tools/wan: run commands behind slow links, check what the links do, or proxy one TCP port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import click
from wan_emulation import probe
from wan_emulation.namespaces import why_unavailable
from wan_emulation.profile import DEFAULT_QUEUE_MS, PathProfile, parse_loss, parse_profile
from wan_emulation.proxy import TcpProxy
from wan_emulation.wan import DEFAULT_MTU, Wan

from psyche_p2p.cli.main import run_command
from psyche_p2p.errors import ExitCode, ResourceError

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
_GRACE_S = 5.0


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tools/wan run --peers 3 --delay-ms 25 --loss 0.5% -- sh -c 'echo {address}'",
)
def wan() -> None:
    """A wide-area network on this machine: delay, jitter, loss, rate and queues.

    `run`, `check` and `measure` need root and /dev/net/tun; `proxy` needs nothing.
    """


def path_options(command: CommandT) -> CommandT:
    """The options that describe the path between two peers."""
    for option in reversed(_PATH_OPTIONS):
        command = option(command)
    return command


_PATH_OPTIONS = (
    click.option("--delay-ms", type=float, default=25.0, show_default=True, help="One way."),
    click.option("--jitter-ms", type=float, default=0.0, help="Delay varies by up to this much."),
    click.option("--loss", default="0", metavar="SHARE", help="One way, like 0.005 or 0.5%."),
    click.option("--rate-mbit", type=float, help="Of each peer's link, up and down."),
    click.option("--up-mbit", type=float, help="Of each peer's uplink alone."),
    click.option(
        "--queue-ms",
        type=float,
        default=DEFAULT_QUEUE_MS,
        show_default=True,
        help="What a link holds before it drops, in time at its rate.",
    ),
    click.option("--mtu", type=click.IntRange(576, 65000), default=DEFAULT_MTU, show_default=True),
    click.option("--seed", type=int, default=0, help="Of jitter and loss."),
)


@wan.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: tools/wan run --peers 2 --peer 1:200ms,1%,20mbit -- ./program {peer} {first}",
)
@click.option("--peers", type=click.IntRange(1, 200), default=2, show_default=True)
@click.option(
    "--peer",
    "others",
    multiple=True,
    metavar="N:DELAY,LOSS,RATE",
    help="A peer unlike the rest. Delay and loss between unlike peers are the mean of the two.",
)
@path_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(peers: int, others: tuple[str, ...], command: tuple[str, ...], **path: Any) -> int:
    """Run COMMAND once per peer, each in its own network namespace.

    {peer}, {address}, {first} and {addresses} in COMMAND become the peer's number, its address,
    peer 0's, and all of them with commas. The exit code is the first that is not zero. When this
    ends, however it ends, so does everything that was started in the network.
    """
    profiles = [_profile(**path)] * peers
    for text in others:
        number, profile = _parse_other(text, peers, path["queue_ms"])
        profiles[number] = profile
    with Wan(profiles, mtu=path["mtu"], seed=path["seed"]) as network:
        commands = [network.command(i, _filled(command, i, network)) for i in range(peers)]
        code = _run_all(commands)
    if network.counters is not None:
        click.echo(f"packets: {json.dumps(asdict(network.counters))}", err=True)
    return code


@wan.command(epilog="Example: tools/wan check && sudo tools/test tests/tools/wan")
def check() -> int:
    """Say whether this machine can emulate with namespaces. Exit code 0: yes, 10: no."""
    reason = why_unavailable()
    click.echo(reason or "this machine can emulate networks")
    return ExitCode.RESOURCES if reason else ExitCode.OK


@wan.command(epilog="Example: tools/wan measure --delay-ms 50 --loss 1% --rate-mbit 100")
@path_options
@click.option("--datagrams", type=click.IntRange(10), default=1000, show_default=True)
@click.option("--mebibytes", type=click.IntRange(1), default=16, show_default=True)
def measure(datagrams: int, mebibytes: int, **path: Any) -> None:
    """Measure a path with plain sockets and print what was asked and what was found, as JSON."""
    profile = _profile(**path)
    click.echo("measuring, some seconds ...", err=True)
    with Wan([profile] * 2, mtu=path["mtu"], seed=path["seed"]) as network:
        found = probe.measure(network, datagrams, mebibytes)
    click.echo(json.dumps({"asked": asdict(profile), "found": asdict(found)}))


@wan.command(epilog="Example: tools/wan proxy --to 127.0.0.1:4001 --delay-ms 50 --rate-mbit 20")
@click.option("--to", "target", required=True, metavar="HOST:PORT", help="What to forward to.")
@click.option("--listen-port", type=click.IntRange(0, 65535), default=0, help="0: any free one.")
@click.option("--delay-ms", type=float, default=25.0, show_default=True, help="One way.")
@click.option("--rate-mbit", type=float, help="Each way, of each connection.")
@click.option("--cut-after-bytes", type=click.IntRange(0), help="Reset everything after so many.")
@click.option("--stall-after-s", type=click.FloatRange(0), help="Then deliver nothing more.")
def proxy(target: str, delay_ms: float, rate_mbit: float | None, **options: Any) -> None:
    """Forward a loopback port to HOST:PORT, late and slowly, until interrupted. Needs no root.

    It prints the port it listens on. TCP hides loss from it, so it cannot emulate any.
    """
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{target!r} is not HOST:PORT", param_hint="--to")
    try:
        profile = PathProfile(delay_ms=delay_ms, up_mbit=rate_mbit, down_mbit=rate_mbit)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    asyncio.run(_forward(host, int(port), profile, **options))


async def _forward(
    host: str,
    port: int,
    profile: PathProfile,
    *,
    listen_port: int,
    cut_after_bytes: int | None,
    stall_after_s: float | None,
) -> None:
    forwarder = TcpProxy(
        host, port, profile, cut_after_bytes=cut_after_bytes, listen_port=listen_port
    )
    try:
        await forwarder.__aenter__()
    except OSError as error:
        cause = f"cannot listen on port {listen_port}: {os.strerror(error.errno or 0)}"
        raise ResourceError(cause, "choose another --listen-port, or 0 for any") from error
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(forwarder)
        click.echo(forwarder.port)
        if stall_after_s is not None:
            asyncio.get_running_loop().call_later(stall_after_s, forwarder.stall)
        await asyncio.Event().wait()


def _profile(
    *,
    delay_ms: float,
    jitter_ms: float,
    loss: str,
    rate_mbit: float | None,
    up_mbit: float | None,
    queue_ms: float,
    **_rest: Any,
) -> PathProfile:
    try:
        return PathProfile(
            delay_ms=delay_ms,
            jitter_ms=jitter_ms,
            loss=parse_loss(loss),
            up_mbit=up_mbit if up_mbit is not None else rate_mbit,
            down_mbit=rate_mbit,
            queue_ms=queue_ms,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _parse_other(text: str, peers: int, queue_ms: float) -> tuple[int, PathProfile]:
    number, separator, profile = text.partition(":")
    if not separator or not number.isdigit() or int(number) >= peers:
        message = f"{text!r} is not N:DELAY,LOSS,RATE with N below {peers}"
        raise click.BadParameter(message, param_hint="--peer")
    try:
        return int(number), parse_profile(profile, queue_ms)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--peer") from None


def _filled(command: Sequence[str], peer: int, network: Wan) -> list[str]:
    values = {
        "{peer}": str(peer),
        "{address}": network.addresses[peer],
        "{first}": network.addresses[0],
        "{addresses}": ",".join(network.addresses),
    }
    words = list(command)
    for placeholder, value in values.items():
        words = [word.replace(placeholder, value) for word in words]
    return words


def _run_all(commands: Sequence[Sequence[str]]) -> int:
    """Run all at once; after an interrupt they have a moment to end by themselves."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running = [subprocess.Popen(command) for command in commands]
    try:
        codes = [process.wait() for process in running]
    except KeyboardInterrupt:
        _end(running)
        raise
    return next((code for code in codes if code != 0), 0)


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.terminate()
    deadline_s = time.monotonic() + _GRACE_S
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))


if __name__ == "__main__":
    run_command(wan)
