"""The log on disk: what a crash or a bad disk leaves of it, and what is served from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from psyche_p2p.coordinator.logfile import BrokenLog, encode_log_head
from psyche_p2p.errors import StorageError
from psyche_p2p.ids import Height
from psyche_p2p.node.log_store import LogStore
from psyche_p2p.wire import encode
from tests.coordinator.recorded import Recorded
from tests.coordinator.world import make_config

LOG = Recorded(make_config())


def filled(path: Path) -> LogStore:
    store = LogStore.create(path, LOG.head)
    for decided in LOG.decided:
        store.append(decided)
    return store


def test_what_was_appended_is_read_back_after_opening_again(tmp_path: Path) -> None:
    filled(tmp_path / "log").close()
    again = LogStore.open(tmp_path / "log")
    assert again.head == LOG.head
    assert again.height == len(LOG.decided)
    assert tuple(again.blocks(Height(1), 1000)) == tuple(LOG.decided)
    assert list(again.blocks(Height(again.height + 1), 5)) == []
    assert [one.block.height for one in again.blocks(Height(2), 2)] == [2, 3]


def test_an_entry_cut_short_at_any_byte_is_dropped_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    store = filled(path)
    store.close()
    whole = path.read_bytes()
    last = len(whole) - len(encode_log_head(LOG.head))
    for cut in range(1, min(last, 200), 7):
        path.write_bytes(whole[:-cut])
        torn = LogStore.open(path)
        assert torn.height < len(LOG.decided)
        for decided in LOG.decided[torn.height :]:
            torn.append(decided)
        torn.close()
        assert path.read_bytes() == whole


def test_a_block_out_of_turn_is_refused(tmp_path: Path) -> None:
    store = LogStore.create(tmp_path / "log", LOG.head)
    with pytest.raises(StorageError, match="block 2 does not follow 0"):
        store.append(LOG.decided[1])


def test_a_damaged_block_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    filled(path).close()
    whole = path.read_bytes()
    begin = whole.rindex(encode(LOG.decided[-1]))
    path.write_bytes(whole[:begin] + b"\xff" + whole[begin + 1 :])  # no field has such a tag
    store = LogStore.open(path)
    assert store.height == len(LOG.decided)
    with pytest.raises(StorageError, match=f"block {store.height} in .* is damaged"):
        store.blocks(store.height, 1)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 64])
def test_something_else_is_not_taken_for_a_log(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises((StorageError, BrokenLog)):
        LogStore.open(tmp_path / "log")
