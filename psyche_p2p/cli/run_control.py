"""`psyche-peer run status|pause|resume|withdraw`: look at a living run, and tell it something."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from psyche_p2p.cli.network_options import bootstrap_option, parse_bootstrap, run_option
from psyche_p2p.cli.run_report import report_run, run_sheets
from psyche_p2p.cli.tables import print_sheets
from psyche_p2p.clock import SystemClock
from psyche_p2p.errors import ResourceError, Unavailable
from psyche_p2p.identity import Identity
from psyche_p2p.keyfile import load_key
from psyche_p2p.node.bookmarks import Bookmarks
from psyche_p2p.node.home import DEFAULT_HOME, Home
from psyche_p2p.wire.messages import OwnerAction

_LOOK_S = 0.1
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_wait = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until it is done.",
)
_home = click.option(
    "--home",
    type=click.Path(path_type=Path),
    default=DEFAULT_HOME,
    show_default=True,
    help="Where it is kept how much of the log has been checked already.",
)
_key = click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The key of the run's owner (run.owner).",
)


@click.command(
    epilog="Example: psyche-peer run status --bootstrap /ip4/203.0.113.7/tcp/4001/p2p/..."
)
@bootstrap_option(required=True)
@run_option()
@_home
@_json
def status(bootstrap: tuple[str, ...], run: str | None, home: Path, as_json: bool) -> None:
    """Show where a run stands, without taking part in it.

    The log is fetched from the run's peers and checked from its first block, or from where it was
    checked the last time, so that what is shown is what its members decided, whoever was asked.
    Exit code 6: no such network or run.
    """
    report = asyncio.run(_look(bootstrap, run, home))
    if as_json:
        click.echo(json.dumps(report))
    else:
        print_sheets(run_sheets(report), sys.stdout)


@click.command(epilog="Example: psyche-peer run pause --key owner.key --bootstrap /ip4/...")
@bootstrap_option(required=True)
@run_option()
@_key
@_wait
@_home
@_json
def pause(
    bootstrap: tuple[str, ...],
    run: str | None,
    key_path: Path,
    wait_s: float,
    home: Path,
    as_json: bool,
) -> None:
    """Have a run pause, as its owner.

    Rounds that are open are settled first, and checkpoints are written. Exit code 6: no such run,
    or nobody decided it in time. 7: the key is not the owner's, or there is nothing to pause.
    """
    _order(bootstrap, run, load_key(key_path), OwnerAction.PAUSE, wait_s, home, as_json)


@click.command(epilog="Example: psyche-peer run resume --key owner.key --bootstrap /ip4/...")
@bootstrap_option(required=True)
@run_option()
@_key
@_wait
@_home
@_json
def resume(
    bootstrap: tuple[str, ...],
    run: str | None,
    key_path: Path,
    wait_s: float,
    home: Path,
    as_json: bool,
) -> None:
    """Have a paused run go on, as its owner; or take a pause back that has not come yet.

    When no peer of the run is left, see `psyche-peer run continue`. Exit codes as for `run pause`.
    """
    _order(bootstrap, run, load_key(key_path), OwnerAction.RESUME, wait_s, home, as_json)


@click.command(epilog="Example: psyche-peer run withdraw --home ~/.psyche-p2p")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    default=DEFAULT_HOME,
    show_default=True,
    help="The folder of the peer that is to leave.",
)
@_wait
def withdraw(home: Path, wait_s: float) -> None:
    """Have the peer that runs on this machine in HOME leave its run in order.

    It says so to the others, who then wait for it no longer, and ends. Ctrl-C does the same. Exit
    code 6: it has not ended in time. 10: no peer runs there.
    """
    folder = Home(home.expanduser())
    process = folder.runner()
    if process is None:
        raise ResourceError(f"no peer is running in {str(home)!r}", "give its folder with --home")
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(process, signal.SIGINT)
    give_up_at = time.monotonic() + wait_s
    while folder.runner() == process:
        if time.monotonic() > give_up_at:
            raise Unavailable(
                f"process {process} was told to leave and has not ended after {wait_s:.0f} s",
                "wait longer, or press Ctrl-C twice where it runs",
            )
        time.sleep(_LOOK_S)
    click.echo(f"the peer in {home} has left")


async def _look(bootstrap: tuple[str, ...], run: str | None, home: Path) -> dict[str, Any]:
    # hivemind imports torch, which takes seconds: --help and mistakes do not wait for it
    from psyche_p2p.node.visiting import visit

    addresses = parse_bootstrap(bootstrap)
    async with visit(addresses, run, SystemClock(), _bookmarks(home)) as visitor:
        await visitor.look()
        return report_run(visitor.config, visitor.state, visitor.heights)


def _order(
    bootstrap: tuple[str, ...],
    run: str | None,
    key: Identity,
    action: OwnerAction,
    wait_s: float,
    home: Path,
    as_json: bool,
) -> None:
    values = asyncio.run(_give(bootstrap, run, key, action, wait_s, home))
    click.echo(json.dumps(values) if as_json else _obeyed_line(values))


async def _give(
    bootstrap: tuple[str, ...],
    run: str | None,
    key: Identity,
    action: OwnerAction,
    wait_s: float,
    home: Path,
) -> dict[str, Any]:
    from psyche_p2p.node.orders import give_order
    from psyche_p2p.node.visiting import visit

    clock = SystemClock()
    addresses = parse_bootstrap(bootstrap)
    async with visit(addresses, run, clock, _bookmarks(home)) as visitor:
        obeyed = await give_order(visitor, key, action, clock, wait_s)
    return {
        "run_id": obeyed.state.run_id.hex(),
        "order": action.name.lower(),
        "height": obeyed.height,
        "phase": obeyed.state.phase.name,
        "is_pause_pending": obeyed.state.is_pause_pending,
    }


def _bookmarks(home: Path) -> Bookmarks:
    return Bookmarks(Home(home.expanduser()).bookmarks)


def _obeyed_line(values: Mapping[str, Any]) -> str:
    line = f"{values['order']}: in the log at height {values['height']}; "
    if values["is_pause_pending"]:
        return line + f"the run is in {values['phase']} and pauses when this epoch is settled"
    return line + f"the run is in {values['phase']}"
