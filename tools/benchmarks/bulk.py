"""One blob between two processes: ours against p2pd, py-libp2p and raw gRPC/TLS, turn by turn."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import median_ratio, report
from benchmarks.transfer.ends import Contender, ContenderError

_CONTENDERS = {
    "ours": "benchmarks.transfer.ours",
    "raw_tls": "benchmarks.transfer.raw_grpc",
    "p2pd": "benchmarks.transfer.p2pd",
    "py_libp2p": "benchmarks.transfer.py_libp2p",
}
_MIB = 1 << 20


def main(arguments: Sequence[str]) -> int:
    """Report MB/s of each contender, and how many times as fast as each ours is."""
    options = _parse(arguments)
    blob = os.urandom(options.mib * _MIB)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        started = {name: _start(name, folder, blob, stack) for name in options.only}
        contenders = {name: one for name, one in started.items() if one is not None}
        seconds = take_turns(contenders, options.repeats)
    for name, measured in seconds.items():
        rate = len(blob) / statistics.median(measured) / 1e6
        report(f"bulk.{name}", rate, "MB/s", runs=[round(len(blob) / s / 1e6) for s in measured])
    for name, measured in seconds.items():
        if name != "ours" and "ours" in seconds:
            report(f"bulk.vs_{name}", median_ratio(measured, seconds["ours"]), "times")
    return 0


def _start(name: str, folder: Path, blob: bytes, stack: ExitStack) -> Contender | None:
    try:
        return stack.enter_context(Contender(_CONTENDERS[name], folder, blob))
    except ContenderError as error:
        print(f"{name} cannot run here: {error}", file=sys.stderr)
        return None


def take_turns(contenders: dict[str, Contender], repeats: int) -> dict[str, list[float]]:
    """Seconds of every fetch: each contender once, then each again, so that noise is shared."""
    for contender in contenders.values():
        contender.fetch_s()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            seconds[name].append(contender.fetch_s())
    return seconds


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench bulk", description=__doc__)
    parser.add_argument("--mib", type=int, default=64, help="size of the blob (64)")
    parser.add_argument("--repeats", type=int, default=7, help="turns (7)")
    parser.add_argument("--folder", help="where the stores are: a disk, or a RAM disk (temporary)")
    parser.add_argument(
        "--only", nargs="+", choices=_CONTENDERS, default=list(_CONTENDERS), help="contenders"
    )
    return parser.parse_args(arguments)
