"""`psyche-peer observe`: look at a run without taking part, through another libp2p."""

from __future__ import annotations

import importlib.util
import json
import signal
from pathlib import Path

import click

from psyche_p2p.config import load_run_config
from psyche_p2p.config import run_id as id_of_run
from psyche_p2p.errors import ExitCode, ResourceError
from psyche_p2p.hashing import DIGEST_BYTES
from psyche_p2p.identity import Identity
from psyche_p2p.ids import RunId
from psyche_p2p.net.gossip import topic_of
from psyche_p2p.net.multiaddr import EXAMPLE, Multiaddr, require_peer_address
from psyche_p2p.observe.sightings import Sightings


def _parse_run_id(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> RunId | None:
    if value is None:
        return None
    try:
        raw = bytes.fromhex(value)
    except ValueError:
        raw = b""
    if len(raw) != DIGEST_BYTES:
        raise click.BadParameter("needs 64 hexadecimal digits (psyche-peer run id FILE)")
    return RunId(raw)


@click.command(epilog=f"Example: psyche-peer observe --config configs/nano.toml --peer {EXAMPLE}")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The run's configuration.",
)
@click.option("--run-id", callback=_parse_run_id, metavar="HEX", help="The run's id, instead.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    required=True,
    metavar="ADDRESS",
    help="A peer of the run to listen through; may be given several times.",
)
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a message.")
def observe(
    config_path: Path | None,
    run_id: RunId | None,
    peers: tuple[str, ...],
    count: int | None,
    as_json: bool,
) -> None:
    """Print every signed message of a run that is valid, and count those that are not.

    Takes no part in the run and needs no daemon and no torch, but the `observer` extra (py-libp2p).
    Exit code 10: the extra is not installed. 3: an address or configuration that means nothing.
    """
    if (config_path is None) == (run_id is None):
        raise click.UsageError("give one of --config and --run-id")
    if config_path is not None:
        run_id = id_of_run(load_run_config(config_path))
    assert run_id is not None
    addresses = [require_peer_address(text) for text in peers]
    if importlib.util.find_spec("libp2p") is None:
        raise ResourceError(
            "py-libp2p is not installed", "install it with: pip install 'psyche-p2p[observer]'"
        )
    sightings = Sightings(run_id)
    try:
        _watch(sightings, addresses, count, as_json)
    finally:
        summary = {"seen": dict(sightings.kinds), "refused": dict(sightings.refused)}
        click.echo(json.dumps(summary), err=True)


def _watch(
    sightings: Sightings, peers: list[Multiaddr], count: int | None, as_json: bool
) -> ExitCode:
    # these need the observer extra, and may not meet hivemind in one process
    import trio

    from psyche_p2p.observe.light_peer import LightPeer

    def on_message(data: bytes) -> None:
        sighting = sightings.on_message(data)
        if sighting is not None:
            click.echo(json.dumps(sighting.as_json()) if as_json else sighting.as_line())
        if count is not None and sightings.kinds.total() >= count:
            scope.cancel()

    async def main() -> None:
        peer = LightPeer(Identity.generate(), topic_of(sightings.run_id), peers, on_message)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, scope)
            with scope:
                await peer.run()
            nursery.cancel_scope.cancel()

    scope = trio.CancelScope()
    trio.run(main)
    return ExitCode.OK


async def _cancel_on_signal(scope: object) -> None:
    import trio

    assert isinstance(scope, trio.CancelScope)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
