"""The write-ahead log on disk: whole, cut short, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from psyche_p2p.consensus.effects import WalRecord
from psyche_p2p.errors import StorageError
from psyche_p2p.ids import Height, RunId
from psyche_p2p.node.wal import FileWal, FsyncPolicy
from psyche_p2p.wire import VoteStep
from tests.consensus.toy import RUN, make_vote, signers

SIGNERS = signers(4)


def _record(height: int, view: int = 0) -> WalRecord:
    own = make_vote(SIGNERS[0], VoteStep.PRECOMMIT, None, view, height)
    reason = make_vote(SIGNERS[1], VoteStep.PREVOTE, None, view, height)
    return WalRecord(Height(height), own, (reason,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "votes.wal"


@pytest.fixture
def wal(path: Path) -> FileWal:
    wal = FileWal(path, RUN, FsyncPolicy.NEVER)
    wal.create()
    return wal


@pytest.mark.parametrize("policy", FsyncPolicy)
def test_what_was_appended_is_loaded(path: Path, policy: FsyncPolicy) -> None:
    wal = FileWal(path, RUN, policy)
    wal.create()
    records = [_record(1), _record(1, view=1), _record(2)]
    for record in records:
        wal.append(record)
    assert FileWal(path, RUN).load() == records


def test_decided_heights_are_forgotten(wal: FileWal) -> None:
    for height in (1, 1, 2, 3):
        wal.append(_record(height))
    wal.forget_through(Height(2))
    assert wal.load() == [_record(3)]


def test_a_write_cut_short_anywhere_is_dropped(path: Path, wal: FileWal) -> None:
    wal.append(_record(1))
    kept = path.read_bytes()
    wal.append(_record(2))
    whole = path.read_bytes()
    for end in range(len(kept), len(whole)):
        path.write_bytes(whole[:end])
        assert wal.load() == [_record(1)]
        wal.append(_record(3))
        assert wal.load() == [_record(1), _record(3)]


def test_any_flipped_byte_is_damage(path: Path, wal: FileWal) -> None:
    wal.append(_record(1))
    wal.append(_record(2))
    whole = path.read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(StorageError):
            wal.load()


def test_another_runs_log_is_refused(path: Path, wal: FileWal) -> None:
    with pytest.raises(StorageError, match="not this run's"):
        FileWal(path, RunId(b"o" * 32)).load()


def test_a_missing_log_is_reported_and_an_old_one_not_overwritten(path: Path) -> None:
    wal = FileWal(path, RUN)
    with pytest.raises(StorageError, match="cannot read"):
        wal.load()
    wal.create()
    with pytest.raises(StorageError):
        wal.create()
