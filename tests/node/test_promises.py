"""A peer commits once to a batch, whatever became of the process that did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from psyche_p2p.errors import StorageError
from psyche_p2p.ids import BatchInterval, BlobHash, EpochIndex, RoundIndex
from psyche_p2p.node.promises import Promises
from psyche_p2p.wire import Commitment

FIRST = Commitment(
    epoch=EpochIndex(2),
    round=RoundIndex(19),
    batch=BatchInterval(100, 104),
    blob_hash=BlobHash(bytes(32)),
    size_bytes=1000,
    payload_hash=BlobHash(bytes(32)),
    tokens_per_s=500,
)
OTHER = replace(FIRST, blob_hash=BlobHash(b"\x01" * 32), tokens_per_s=501)


def test_the_first_word_counts_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "promises"
    assert Promises.open(path).bind(FIRST) == FIRST
    again = Promises.open(path)
    assert again.bind(OTHER) == FIRST
    assert again.bind(OTHER) == FIRST


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(OTHER, epoch=EpochIndex(3)),
        replace(OTHER, round=RoundIndex(20)),
        replace(OTHER, batch=BatchInterval(104, 108)),
    ],
)
def test_another_batch_is_another_promise(elsewhere: Commitment, tmp_path: Path) -> None:
    promises = Promises.open(tmp_path / "promises")
    promises.bind(FIRST)
    assert promises.bind(elsewhere) == elsewhere
    assert Promises.open(tmp_path / "promises").bind(OTHER) == FIRST


def test_old_rounds_are_forgotten(tmp_path: Path) -> None:
    promises = Promises.open(tmp_path / "promises")
    for number in range(100):
        promises.bind(replace(FIRST, round=RoundIndex(number)))
    assert (tmp_path / "promises").stat().st_size < 20 * 200
    assert Promises.open(tmp_path / "promises").bind(replace(OTHER, round=RoundIndex(99))) != OTHER


@pytest.mark.parametrize("cut", [1, 5])
def test_a_damaged_file_is_no_clean_slate(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "promises"
    Promises.open(path).bind(FIRST)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(StorageError, match="damaged"):
        Promises.open(path)
