"""One blob from four holders behind 50 ms, 100 Mbit/s uplinks, against the same from one holder."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import median_ratio, report
from benchmarks.transfer.ends import Contender

_MIB = 1 << 20


def main(arguments: Sequence[str]) -> int:
    """Report MB/s from four and from one, and how many times as fast four are."""
    parser = argparse.ArgumentParser(prog="tools/bench bulk_many", description=__doc__)
    parser.add_argument("--mib", type=int, default=64, help="size of the blob (64)")
    parser.add_argument("--repeats", type=int, default=3, help="turns (3)")
    options = parser.parse_args(arguments)
    blob = os.urandom(options.mib * _MIB)
    with (
        tempfile.TemporaryDirectory() as folder,
        Contender("benchmarks.transfer.many_holders", Path(folder), blob) as contender,
    ):
        for _ in range(2):
            contender.fetch_s()
        turns = [(contender.fetch_s(), contender.fetch_s()) for _ in range(options.repeats)]
    four, one = ([turn[place] for turn in turns] for place in (0, 1))
    report("bulk.from_four", len(blob) / statistics.median(four) / 1e6, "MB/s")
    report("bulk.from_one", len(blob) / statistics.median(one) / 1e6, "MB/s")
    report("bulk.four_vs_one", median_ratio(one, four), "times")
    return 0
