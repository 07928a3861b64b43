"""The store shared by real processes that are killed at the worst moments, and on full disks."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from psyche_p2p.blobs import CHUNK_BYTES, BlobStore, scrub_store
from psyche_p2p.ids import BlobHash
from tests.blobs.builders import make_large
from tests.small_disk import small_disk

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 1 << 26
CHUNKS = 12
SIZE = (CHUNKS - 1) * CHUNK_BYTES + 77


@contextmanager
def worker(command: str, root: Path, *numbers: int) -> Iterator[subprocess.Popen[str]]:
    arguments = [command, str(root), *map(str, numbers)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.blobs.store_worker", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate()
    return output.splitlines()


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def assert_sound(store: BlobStore) -> None:
    """Every blob that is there has the content of its name."""
    assert scrub_store(store).damaged == ()


@pytest.mark.slow
def test_kill_9_in_the_middle_of_writes_loses_no_chunk_that_was_written(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    store = BlobStore.open(tmp_path, BUDGET)
    sealed, written, kills = make_large(SIZE, 5), 0, 0
    while not store.has(sealed.blob_hash):
        with worker("fetch", tmp_path, BUDGET, SIZE, 5) as process:
            first, *_ = read_lines(process, 1)
            assert first.startswith("missing "), f"seed {seed}: {first!r}"
            still_missing = int(first.split()[1])
            assert still_missing <= CHUNKS + 1 - written, f"seed {seed}: chunks were lost"
            # a line for each chunk, and one when the blob is published: a kill that always came
            # before that would leave it complete and unpublished for ever
            told = read_lines(process, min(moments.randint(0, 4), still_missing + 1))
            process.kill()
            rest = lines(process)
            written = CHUNKS + 1 - still_missing + sum("wrote" in line for line in told + rest)
            kills += 1
        assert kills < 200, f"seed {seed}: no progress"
    assert bytes(store.read(sealed.blob_hash)) == sealed.to_bytes(), f"seed {seed}"
    assert_sound(store)
    assert store.incomplete() == []


def test_a_killed_process_leaves_its_blob_to_the_next(tmp_path: Path) -> None:
    with worker("fetch", tmp_path, BUDGET, SIZE, 1) as holder:
        read_lines(holder, 2)
        os.kill(holder.pid, 19)  # SIGSTOP: alive, and holding its lock
        with worker("fetch", tmp_path, BUDGET, SIZE, 1) as other:
            assert lines(other) == ["busy"]
        holder.kill()
    with worker("fetch", tmp_path, BUDGET, SIZE, 1) as other:
        assert lines(other)[-1] == "published"


def test_a_child_forked_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    with worker("fork", tmp_path, BUDGET, SIZE) as process:
        assert lines(process) == ["again"]


@pytest.mark.slow
def test_processes_that_add_the_same_blobs_under_a_budget_that_evicts(tmp_path: Path) -> None:
    size, budget = 300_000, 2_000_000
    store = BlobStore.open(tmp_path, budget)
    seeds = [(0, 12), (0, 12), (6, 18)]
    processes = [worker("add", tmp_path, budget, *pair, size) for pair in seeds]
    with processes[0] as first, processes[1] as second, processes[2] as third:
        added = [lines(process) for process in (first, second, third)]
        codes = [process.wait() for process in (first, second, third)]
    assert codes == [0, 0, 0]
    assert [len(told) for told in added] == [24, 24, 24]
    assert_sound(store)
    assert 0 < store.usage().size_bytes <= budget
    assert store.incomplete() == []


def test_a_limit_on_file_sizes_loses_nothing_already_stored(tmp_path: Path) -> None:
    store = BlobStore.open(tmp_path, BUDGET)
    with worker("fill", tmp_path, BUDGET, 3 * CHUNK_BYTES) as process:
        *added, refusal = lines(process)
    assert len(added) >= 3
    assert "File too large" in refusal
    assert "ulimit" in refusal
    assert store.incomplete() == []
    assert_all_there(store, added)


def test_a_full_disk_loses_nothing_already_stored(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8 * CHUNK_BYTES) as disk:
        store = BlobStore.open(disk, BUDGET)
        with worker("fill", disk, BUDGET, 0) as process:
            *added, refusal = lines(process)
        assert len(added) >= 3
        assert "No space left on device" in refusal
        assert "free some space" in refusal
        assert_all_there(store, added)
        refused = make_large(200_000 * (1 + len(added)), len(added))
        assert store.incomplete() == [refused.blob_hash]
        store.remove(BlobHash(bytes.fromhex(added[-1].split()[1])))
        assert store.add(refused) in store.hashes()
        assert_sound(store)


def assert_all_there(store: BlobStore, added: list[str]) -> None:
    hashes = {BlobHash(bytes.fromhex(line.split()[1])) for line in added}
    assert set(store.hashes()) == hashes
    assert_sound(store)
