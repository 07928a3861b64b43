"""The store against plain files, and what it costs to check a stranger's blob.

    tools/bench blobs                       # 64 MiB, below the system's temporary folder
    tools/bench blobs --folder /mnt/disk --mib 256

`blobs.add_ratio` is the median, over blobs written turn by turn, of the time of writing one plain
file with fsync through the time of adding a blob of the same bytes: 1 would be free.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import median_ratio, report, time_in_turns
from psyche_p2p.blobs import (
    BlobStore,
    Expectation,
    Origin,
    SealedBlob,
    scrub_store,
    seal_dense,
    validate_blob,
)
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, EpochIndex, RoundIndex, RunId, SchemaHash, Tier
from psyche_p2p.wire import BlobKind

_MIB = 1 << 20
_MANY = 10_000
_NO_LIMIT = 1 << 50


@click.command(epilog="Example: tools/bench blobs --mib 256")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; removed after.")
@click.option("--mib", default=64, show_default=True, help="The size of a blob.")
@click.option("--repeats", default=5, show_default=True, help="How many turns.")
def bench(folder: Path | None, mib: int, repeats: int) -> None:
    """Measure the store of blobs."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        _bench_writing(Path(name), mib, repeats)
        _bench_reading(Path(name), mib)
        _bench_many(Path(name))


def main(arguments: list[str]) -> int:
    bench.main(arguments, standalone_mode=False)
    return 0


def _bench_writing(folder: Path, mib: int, repeats: int) -> None:
    store, numbers = BlobStore.open(folder / "store", _NO_LIMIT), count()
    data = np.random.default_rng(0).integers(0, 256, mib * _MIB, np.uint8)

    def add() -> None:
        store.add(_sealed(data, next(numbers)))

    def write() -> None:
        with (folder / f"plain-{next(numbers)}").open("wb") as file:
            file.write(data.data)
            os.fsync(file.fileno())

    seconds = time_in_turns({"plain": write, "ours": add}, repeats)
    report("blobs.add_ratio", median_ratio(seconds["plain"], seconds["ours"]))
    report("blobs.add", mib / min(seconds["ours"]), "MiB/s")
    report("blobs.plain_file", mib / min(seconds["plain"]), "MiB/s")


def _bench_reading(folder: Path, mib: int) -> None:
    store = BlobStore.open(folder / "reading", _NO_LIMIT)
    blob_hash = store.add(_sealed(np.zeros(mib * _MIB, np.uint8), 0))
    data = store.read(blob_hash)
    expected = Expectation.of_anything(_NO_LIMIT)
    report("blobs.validate", mib / _best(lambda: validate_blob(data, expected)), "MiB/s")
    report("blobs.scrub", mib / _best(lambda: scrub_store(store)), "MiB/s")

    def serve() -> None:
        for index in range(mib):
            store.read_chunk(blob_hash, index)

    report("blobs.serve_checked_chunks", mib / _best(serve), "MiB/s")


def _bench_many(folder: Path) -> None:
    """What a small blob costs in a store that holds thousands."""
    store = BlobStore.open(folder / "many", _NO_LIMIT)
    for blob_hash in _names(_MANY):
        path = store.folders.blob(blob_hash)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    numbers = count()
    small = np.zeros(60_000, np.uint8)
    seconds = _best(lambda: store.add(_sealed(small, next(numbers))))
    report("blobs.add_small_among_many", 1000 * seconds, "ms", blobs=_MANY)


def _sealed(data: NDArray[np.uint8], number: int) -> SealedBlob:
    origin = Origin(
        RunId(bytes(32)), EpochIndex(0), RoundIndex(number), Tier(0), SchemaHash(bytes(32))
    )
    return seal_dense(BlobKind.CHECKPOINT_SHARD, origin, {"data": data})


def _names(number: int) -> Iterator[BlobHash]:
    return (BlobHash(hash_bytes(index.to_bytes(8, "little"))) for index in range(number))


def _best(work: Callable[[], object], repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
