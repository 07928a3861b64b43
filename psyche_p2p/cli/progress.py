"""How far a long command has come, in bytes: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_LINE_EVERY_S = 10.0
_MB = 1_000_000

OnDone = Callable[[int], None]
"""Told how many bytes are done."""


@contextmanager
def show_progress(label: str, total_bytes: int) -> Iterator[OnDone]:
    """On standard error, and gone when it is done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(label, total_bytes)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task(label, total=total_bytes)
        yield lambda done: display.update(task, completed=done)


def _lines(label: str, total_bytes: int) -> OnDone:
    began_s = said_s = time.monotonic()
    first: int | None = None  # where an interrupted command went on

    def say(done: int) -> None:
        nonlocal said_s, first
        first = done if first is None else first
        now_s = time.monotonic()
        if now_s - said_s < _LINE_EVERY_S:
            return
        said_s = now_s
        speed = (done - first) / _MB / max(now_s - began_s, 0.001)
        share = f"{done / _MB:.0f} of {total_bytes / _MB:.0f} MB"
        click.echo(f"{label}: {share}, {speed:.1f} MB/s", err=True)

    return say
