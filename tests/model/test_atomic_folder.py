"""Atomic folders: a writer killed at any moment leaves the old checkpoint or the new one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from psyche_p2p.errors import StorageError
from psyche_p2p.model import atomic_folder
from psyche_p2p.model.atomic_folder import new_folder
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.checkpoint_writer import WriteOptions, write_checkpoint
from psyche_p2p.model.initial import initial_state
from tests.model.configs import tiny_config

CONFIG = tiny_config()

# Writes a second folder over the first and kills itself at the n-th of the system calls that
# matter, so that every state a crash can leave behind is seen.
_KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from psyche_p2p.model import atomic_folder

remaining = int(sys.argv[2])

def dying(function):
    def call(*arguments, **keywords):
        global remaining
        remaining -= 1
        if remaining < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)
    return call

os.fsync, os.unlink = dying(os.fsync), dying(os.unlink)
os.rename = atomic_folder.Path.rename = dying(os.rename)
atomic_folder._exchange = dying(atomic_folder._exchange)
with atomic_folder.new_folder(Path(sys.argv[1]), replace=True) as partial:
    for name in ("one", "two", "three"):
        (partial / name).write_text("new")
"""

_KILLED_CHECKPOINT_WRITER = """
import os, signal, sys
from pathlib import Path
from psyche_p2p.model import atomic_folder
from psyche_p2p.model.checkpoint_writer import WriteOptions, write_checkpoint
from psyche_p2p.model.initial import initial_state
from tests.model.configs import tiny_config

setattr(atomic_folder, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
state = initial_state(tiny_config(), 2)
write_checkpoint(Path(sys.argv[1]), tiny_config(), state, options=WriteOptions(replace=True))
"""


def run_killed(script: str, folder: Path, argument: str) -> bool:
    """Run a writer that kills itself; False if it lived to the end."""
    result = subprocess.run(
        [sys.executable, "-c", script, str(folder), argument],
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert result.returncode in (0, -signal.SIGKILL)
    return result.returncode != 0


def seed_in(folder: Path) -> int:
    """Which of the two states a checkpoint holds, all of it; loading checks every hash."""
    state = open_checkpoint(folder).read_state()
    seeds = [
        seed
        for seed in (1, 2)
        if all(torch.equal(state[n], tensor) for n, tensor in initial_state(CONFIG, seed).items())
    ]
    assert len(seeds) == 1
    return seeds[0]


@pytest.mark.parametrize("existed", [True, False])
def test_a_writer_killed_anywhere_leaves_the_old_folder_or_the_new(
    tmp_path: Path, existed: bool
) -> None:
    seen, calls, killed = [], 0, True
    while killed:
        folder = tmp_path / str(calls)
        if existed:
            folder.mkdir()
            for name in ("one", "two"):
                (folder / name).write_text("old")
        killed = run_killed(_KILLED_WRITER, folder, str(calls))
        seen.append({path.name: path.read_text() for path in folder.glob("*")})
        calls += 1
    new = dict.fromkeys(("one", "two", "three"), "new")
    old = dict.fromkeys(("one", "two"), "old") if existed else {}
    # old up to the exchange, new from there on, and nothing else
    assert seen == [old] * seen.count(old) + [new] * seen.count(new)
    assert seen.count(old) >= 4
    assert seen.count(new) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(("step", "survivor"), [("_exchange", 1), ("sync_folder", 1)])
def test_a_killed_checkpoint_writer_leaves_a_whole_checkpoint(
    tmp_path: Path, step: str, survivor: int
) -> None:
    folder = tmp_path / "c"
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1))
    assert run_killed(_KILLED_CHECKPOINT_WRITER, folder, step)
    assert seed_in(folder) == survivor
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 2), options=WriteOptions(replace=True))
    assert seed_in(folder) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("failing", ["_sync_files", "_put_in_place"])
def test_a_failing_disk_leaves_the_old_folder_and_no_other(tmp_path: Path, failing: str) -> None:
    folder = tmp_path / "c"
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1))
    full_disk = mock.patch.object(atomic_folder, failing, side_effect=OSError(28, "full"))
    with full_disk, pytest.raises(StorageError, match="No space left on device; free some space"):
        write_checkpoint(
            folder, CONFIG, initial_state(CONFIG, 2), options=WriteOptions(replace=True)
        )
    assert seed_in(folder) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_an_error_inside_the_block_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError), new_folder(tmp_path / "c") as partial:
        (partial / "file").rename(tmp_path / "elsewhere")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    left_over = tmp_path / ".c.partial"
    (left_over / "deep").mkdir(parents=True)
    (left_over / "deep" / "file").write_text("half")
    (left_over / "old").write_text("half")
    with new_folder(tmp_path / "c") as partial:
        (partial / "file").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["file"]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with new_folder(tmp_path / "c") as partial:
        (partial / "file").write_text("first")
        second = new_folder(tmp_path / "c")
        with pytest.raises(StorageError, match="another process is writing"):
            second.__enter__()
    assert (tmp_path / "c" / "file").read_text() == "first"


def test_a_system_without_an_exchange_says_so(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    no_renameat2 = mock.patch("ctypes.CDLL", return_value=object())
    with no_renameat2, pytest.raises(StorageError, match=r"cannot replace .* in one step"):
        atomic_folder._exchange(tmp_path / "new", tmp_path / "old")


def test_a_parent_that_does_not_exist(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "no" / "c")
    with pytest.raises(StorageError, match="create the folder first"):
        folder.__enter__()
