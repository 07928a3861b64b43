"""What the commands that run a local network share: signals, options, the work folder."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from wan_emulation.profile import PathProfile, parse_profile
from wan_emulation.wan import Wan

from localnet_parts.display import Display, Lines, LiveTable
from psyche_p2p.errors import StorageError
from psyche_p2p.files import storage_error


@dataclass(slots=True)
class Work:
    """The folder of homes and logs; kept unless all went well."""

    path: Path
    is_kept: bool = True


def stop_on_signals() -> None:
    """Ctrl-C and SIGTERM interrupt, even if whoever started us ignores them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def require_folder_of(path: Path | None, option: str) -> None:
    """Say now, and not after an hour of training, that a file cannot be written."""
    if path is not None and not path.parent.is_dir():
        raise StorageError(f"{option} {path}: there is no such folder", "create it first")


@contextmanager
def work_folder(wanted: Path | None) -> Iterator[Work]:
    """A new folder; a person's own is never emptied, and has to be new or empty."""
    try:
        if wanted is None:
            work = Work(Path(tempfile.mkdtemp(prefix="psyche-localnet-")))
        else:
            wanted.mkdir(parents=True, exist_ok=True)
            work = Work(wanted.resolve())
        is_used = any(work.path.iterdir())
    except OSError as error:
        raise storage_error("cannot use the folder", wanted or Path(), error) from error
    if is_used:
        raise StorageError(f"--keep {wanted}: this folder is not empty", "name a new one")
    try:
        yield work
    finally:
        if work.is_kept:
            click.echo(f"logs            {work.path}")
        else:
            shutil.rmtree(work.path, ignore_errors=True)


def make_display(headless: bool, rounds: int) -> Display:
    """A table where somebody looks, lines elsewhere."""
    if headless or not sys.stdout.isatty():
        return Lines(sys.stdout, rounds)
    return LiveTable(sys.stdout, rounds)


def program_words(program: str | None) -> tuple[str, ...]:
    """What starts a peer: `psyche-peer`, with the Python that runs this."""
    words = (
        shlex.split(program) if program else [str(Path(sys.executable).with_name("psyche-peer"))]
    )
    return tuple(words)


def parse_tiers(text: str) -> tuple[int, ...]:
    """0,1,1 and the like."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        message = f"{text!r} is not a list like 0,1,1"
        raise click.BadParameter(message, param_hint="--tiers") from None


@contextmanager
def network(profile: str | None, peers: int, seed: int) -> Iterator[Wan | None]:
    """Emulated links of that profile, or None for the loopback."""
    if profile is None:
        yield None
        return
    with Wan([_parse_profile(profile)] * peers, seed=seed) as wan:
        yield wan


def _parse_profile(text: str) -> PathProfile:
    try:
        return parse_profile(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--wan") from None
