"""`psyche-peer log`: show a stored log, and verify it from its beginning."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import click

from psyche_p2p.consensus import (
    InvalidChain,
    SignatureChecker,
    find_unfounded,
    verify_chain,
)
from psyche_p2p.consensus.run import RunApplication
from psyche_p2p.coordinator import Pool, State, decode_command, state_root
from psyche_p2p.coordinator.logfile import (
    MAX_LOG_FRAME_BYTES,
    BrokenLog,
    LogHead,
    begin_log,
    decode_log_entries,
    decode_log_head,
)
from psyche_p2p.errors import ExitCode, Rejected, StorageError
from psyche_p2p.files import storage_error
from psyche_p2p.ids import PeerId, Tier, short_id
from psyche_p2p.wire import DecidedBlock, FrameDecoder
from psyche_p2p.wire.commands import CloseRound

_CHUNK_BYTES = 1 << 18
_file = click.argument("path", metavar="FILE", type=click.Path(path_type=Path))


@click.group(epilog="Example: psyche-peer log verify run.log")
def log() -> None:
    """Show a run's stored log, and verify it from its beginning."""


@log.command(epilog="Example: psyche-peer log show run.log --json | head")
@_file
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a block.")
def show(path: Path, as_json: bool) -> int:
    """Print a line for each block of FILE, without checking that it was decided.

    Exit code 0: the file was read to its end. 11: it is damaged; what is before that is printed.
    """
    try:
        with _read_frames(path) as frames:
            decode_log_head(frames)
            for decided in decode_log_entries(frames):
                values = _describe(decided)
                click.echo(json.dumps(values) if as_json else _line(values))
    except BrokenLog as broken:
        return _report(path, broken)
    return ExitCode.OK


@log.command(epilog="Example: psyche-peer log verify run.log")
@_file
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(path: Path, as_json: bool) -> int:
    """Replay FILE: check every certificate, signature and state root from the first block on.

    Exit code 0: every block follows. 11: one does not; the line says which and why.
    """
    try:
        with _read_frames(path) as frames:
            head = decode_log_head(frames)
            state = _replay(head, frames)
    except BrokenLog as broken:
        if as_json:
            values = {"valid": False, "height": broken.height, "reason": broken.reason}
            click.echo(json.dumps(values))
        return _report(path, broken)
    click.echo(json.dumps(_summary(state)) if as_json else _summary_line(path, head, state))
    return ExitCode.OK


def _replay(head: LogHead, frames: Iterator[bytes]) -> State:
    state = begin_log(head)
    checker = SignatureChecker(state.run_id)
    unfounded = find_unfounded(head, checker)
    if unfounded is not None:
        raise BrokenLog(0, unfounded)
    follower = RunApplication(state, PeerId(""), _never_sign, Pool, clock_offset_ms=0)
    try:
        verify_chain(follower, decode_log_entries(frames), checker)
    except InvalidChain as invalid:
        raise BrokenLog(invalid.height, invalid.reason) from invalid
    return follower.state


def _never_sign(_context: str, _message: bytes) -> NoReturn:
    raise AssertionError("whoever only reads a log signs nothing")


@contextmanager
def _read_frames(path: Path) -> Iterator[Iterator[bytes]]:
    """The frames of a file, with a progress bar where somebody looks."""
    try:
        size_bytes = path.stat().st_size
        with click.progressbar(
            length=size_bytes, label="reading", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar:
            yield _frames(path, bar)
    except FileNotFoundError as error:
        raise StorageError(f"{path}: no such file", "check the path") from error
    except OSError as error:
        raise storage_error("cannot read", path, error) from error


def _frames(path: Path, bar: Any) -> Iterator[bytes]:
    decoder = FrameDecoder(MAX_LOG_FRAME_BYTES)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield from decoder.feed(chunk)
            bar.update(len(chunk))
    decoder.finish()


def _describe(decided: DecidedBlock) -> dict[str, Any]:
    block = decided.block
    return {
        "height": block.height,
        "time": datetime.fromtimestamp(block.time_ms / 1000, timezone.utc).isoformat(),
        "view": block.view,
        "proposer": block.proposer,
        "signatures": len(decided.certificate.signatures),
        "state_root": block.state_root.hex(),
        "commands": [_name_command(data) for data in block.commands],
    }


def _name_command(data: bytes) -> str:
    try:
        command = decode_command(data)
    except Rejected:
        return "(not a command)"
    name = type(command).__name__
    if not isinstance(command, CloseRound):
        return name
    refused = "".join(f", targets of slot {one.targets.slot} refused" for one in command.refused)
    return f"{name} {command.round}{refused}"


def _line(values: dict[str, Any]) -> str:
    return (
        f"{values['height']:>7}  {values['time']}  view {values['view']}  "
        f"{short_id(values['proposer'])}  {values['state_root'][:10]}  "
        + ", ".join(values["commands"])
    )


def _summary(state: State) -> dict[str, Any]:
    return {
        "valid": True,
        "height": state.height,
        "run_id": state.run_id.hex(),
        "block_hash": state.block_hash.hex(),
        "state_root": state_root(state).hex(),
        "phase": state.phase.name,
        "epoch": state.epoch,
        "rounds": state.closed_count,
        "param_round": state.param_round,
        "param_root": state.param_root.hex(),
        "param_roots": {
            tier: state.param_root_of(Tier(tier)).hex() for tier in range(len(state.param_roots))
        },
    }


def _summary_line(path: Path, head: LogHead, state: State) -> str:
    return (
        f"{path}: {state.height} blocks of run {head.config.run.name} are valid; "
        f"{state.phase.name}, epoch {state.epoch}, {state.closed_count} rounds settled, "
        f"state root {short_id(state_root(state))}, "
        f"param root {short_id(state.param_root)} after {state.param_round}"
    )


def _report(path: Path, broken: BrokenLog) -> int:
    click.echo(f"error: {path}: {broken}", err=True)
    return ExitCode.INVALID
