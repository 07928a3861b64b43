"""`psyche-peer start` and `psyche-peer witness`: take part in a run."""

from __future__ import annotations

import asyncio
import math
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from psyche_p2p.cli.network_options import (
    CommandT,
    bootstrap_option,
    parse_bootstrap,
    run_option,
)
from psyche_p2p.cli.signals import until_stopped_twice
from psyche_p2p.clock import SystemClock
from psyche_p2p.errors import ConfigError, ExitCode, PsycheError
from psyche_p2p.ids import MAX_TIER, Tier
from psyche_p2p.node.home import DEFAULT_HOME, Home
from psyche_p2p.node.options import PeerOptions, Reached, parse_listen, parse_reach
from psyche_p2p.observe.event_log import EventLog
from psyche_p2p.observe.events import Event, Restarted, Stopped

_SHARED = (
    bootstrap_option(),
    run_option(),
    click.option(
        "--run-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The run's configuration, for whoever begins it.",
    ),
    click.option(
        "--home",
        type=click.Path(path_type=Path),
        default=DEFAULT_HOME,
        show_default=True,
        help="Where the key, the log, blobs and checkpoints are kept. One peer a folder.",
    ),
    click.option(
        "--listen",
        default="0.0.0.0",
        show_default=True,
        metavar="HOST[:PORT]",
        help="Where to listen: PORT for libp2p, the two after it for blobs, and with --relay the "
        "third for that. Default: free ones.",
    ),
    click.option(
        "--announce",
        metavar="HOST",
        help="The address others should use, when it is not the machine's own (behind a router): "
        "with the ports of --listen, which the router has to forward.",
    ),
    click.option(
        "--reach",
        default="auto",
        show_default=True,
        metavar="HOW",
        help="How others reach this machine: direct; relay, if nobody can dial it; auto asks two "
        "peers to try. relay/HOST:PORT/PEER_ID names the relay to use.",
    ),
    click.option(
        "--relay", is_flag=True, help="Also carry traffic between peers that nobody can dial."
    ),
    click.option(
        "--store-gb",
        type=click.FloatRange(min=0.01),
        default=16.0,
        show_default=True,
        help="How much disk blobs may take.",
    ),
    click.option(
        "--newcomers-mbit",
        type=click.FloatRange(min=8),
        metavar="MBIT",
        help="How fast newcomers may take the parameters from here.  [default: no limit]",
    ),
    click.option(
        "--events",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write what happens as JSON lines.  [default: HOME/events.jsonl]",
    ),
)


def _shared(command: CommandT) -> CommandT:
    for option in reversed(_SHARED):
        command = option(command)
    return command


@click.command(
    epilog="Example: psyche-peer start --tier 0 --bootstrap "
    "/ip4/203.0.113.7/tcp/4001/p2p/12D3KooW..."
)
@_shared
@click.option(
    "--tier",
    type=click.IntRange(0, MAX_TIER),
    default=0,
    show_default=True,
    help="How much of the model: 0 all of it, 1 half of each FFN, 2 a quarter, ...",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, cuda:N or mps. Several, like cuda:0,cuda:1, share this peer's batches: "
    "a process each, one contribution.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="Processor threads for training.  [default: three in four cores]",
)
@click.option(
    "--micro-batch",
    type=click.IntRange(min=0),
    default=0,
    help="Samples at once.  [default: as many as fit]",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the run's data is on this machine, or is kept when it is fetched.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="What the run begins with, for the first peers of a run that goes on from another.",
)
@click.option(
    "--upload",
    metavar="REPO",
    help="Also put checkpoints onto a Hugging Face hub, into this repository (private if it is "
    "new). Needs the `hub` extra, and HF_TOKEN or `hf auth login`.",
)
@click.option("--compile", "use_compile", is_flag=True, help="Use torch.compile.")
@click.option(
    "--trainer-command",
    envvar="PSYCHE_TRAINER_COMMAND",
    default="",
    hidden=True,
    help="A stand-in for the trainer process, for tests and benchmarks.",
)
def start(
    tier: int,
    device: str,
    threads: int,
    micro_batch: int,
    data_dir: Path | None,
    checkpoint: Path | None,
    upload: str | None,
    use_compile: bool,
    trainer_command: str,
    **shared: Any,
) -> int:
    """Train in a run, until it is finished or you press Ctrl-C.

    A bootstrap address is all a newcomer needs: the run's configuration, log and parameters come
    from its peers, and are checked. Whoever begins a run gives --run-file instead. Ctrl-C leaves
    in order; a second one at once.

    Exit code 0: finished, or left in order. 3: an option or configuration that means nothing.
    4: the key. 5: the disk. 6: the network, or no such run. 7: the run will never have this peer,
    which is blocked, not invited or ejected. 8: another model. 9: other training data. 10: memory,
    device, port, clock, or a home or identity already in use. 130: second Ctrl-C.
    """
    options = _options(
        shared,
        tier=Tier(tier),
        device=device,
        threads=threads,
        micro_batch=micro_batch,
        data_dir=data_dir,
        checkpoint=checkpoint,
        upload=upload,
        compile=use_compile,
        trainer_command=tuple(shlex.split(trainer_command)),
    )
    return _run(options)


@click.command(
    epilog="Example: psyche-peer witness --bootstrap /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW..."
)
@_shared
def witness(**shared: Any) -> int:
    """Check what others contribute to a run, and vote, without training: no model, no GPU.

    Exit codes as for `psyche-peer start`.
    """
    return _run(_options(shared, tier=None, data_dir=None))


def _options(shared: dict[str, Any], **own: Any) -> PeerOptions:
    if not shared["bootstrap"] and shared["run_file"] is None:
        raise ConfigError(
            "neither --bootstrap nor --run-file is given",
            "join a network with --bootstrap ADDRESS, or begin a run with --run-file FILE",
        )
    reach = parse_reach(shared["reach"])
    if shared["relay"] and reach.how is Reached.RELAY:
        raise ConfigError(
            "--relay and --reach relay contradict each other",
            "a machine that nobody can dial cannot relay: leave out one of them",
        )
    listen = parse_listen(shared["listen"])
    if shared["announce"] and not listen.port and reach.how is not Reached.RELAY:
        raise ConfigError(
            f"--announce {shared['announce']} without a port in --listen: nobody could dial it",
            f"forward a port and its neighbours, and give it: --listen {listen.host}:4001",
        )
    home: Path = shared["home"].expanduser()
    return PeerOptions(
        home=home,
        bootstrap=parse_bootstrap(shared["bootstrap"]),
        run=shared["run"],
        run_file=shared["run_file"],
        listen=listen,
        announce=shared["announce"],
        events=shared["events"] or home / "events.jsonl",
        store_bytes=int(shared["store_gb"] * 1e9),
        relay=shared["relay"],
        parameters_bytes_per_s=(shared["newcomers_mbit"] or math.inf) * 1e6 / 8,
        reach=reach,
        **own,
    )


def _run(options: PeerOptions) -> int:
    """A peer's whole life; what ended it is its last event."""
    # locked first: the events of a peer that runs there are not ours to write
    with Home(options.home).locked(), EventLog.open(options.events) as log:
        is_again = (options.home / "runs").is_dir()
        if is_again:
            log.write(Restarted("node", "started again in its home"))
        try:
            asyncio.run(until_stopped_twice(lambda stop: _live(options, stop, log.write)))
        except PsycheError as error:
            log.write(Stopped(str(error), error.exit_code))
            raise
        except (KeyboardInterrupt, asyncio.CancelledError):
            log.write(Stopped("interrupted", ExitCode.INTERRUPTED))
            raise click.Abort from None
        log.write(Stopped("in order", ExitCode.OK))
    return ExitCode.OK


async def _live(options: PeerOptions, stop: asyncio.Event, emit: Callable[[Event], None]) -> None:
    # gRPC's C core prints every failed handshake, which is how strangers end; what fails for us is
    # raised. It reads this once, when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from psyche_p2p.node.peer import Peer  # a second's worth: --help and mistakes do not wait

    await Peer(options, SystemClock(), emit).run(stop)
