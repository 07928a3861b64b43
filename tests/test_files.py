"""Atomic files: the old content or the new, and never a leftover."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from psyche_p2p.errors import ExitCode, StorageError
from psyche_p2p.files import write_atomically


def test_a_file_is_written_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"one", mode=0o600)
    write_atomically(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_an_existing_file_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"one", replace=False)
    with pytest.raises(StorageError, match="File exists; choose another name"):
        write_atomically(path, b"two", replace=False)
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failing", ["fsync", "fchmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_real_refusal_of_the_disk(tmp_path: Path) -> None:
    """A process that may write no more than 10 bytes a file, by the kernel's word."""
    script = """
        import resource, sys
        from pathlib import Path
        from psyche_p2p.errors import StorageError
        from psyche_p2p.files import write_atomically
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        try:
            write_atomically(Path(sys.argv[1]), b"x" * 100)
        except StorageError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "file")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "File too large; raise the file size limit" in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/file", "nul\0byte", "x" * 300])
def test_impossible_paths_have_a_cause(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="cannot write") as caught:
        write_atomically(tmp_path / name, b"")
    assert caught.value.exit_code is ExitCode.STORAGE
    assert list(tmp_path.iterdir()) == []


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """A child rewrites the file for ever; after SIGKILL it holds one whole version."""
    path, size = tmp_path / "file", 200_000
    script = """
        import sys
        from pathlib import Path
        from psyche_p2p.files import write_atomically
        path, size = Path(sys.argv[1]), int(sys.argv[2])
        for version in range(1_000_000):
            write_atomically(path, bytes([version % 256]) * size)
            if version == 3:
                print("running", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path), str(size)]
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "running\n"
            child.kill()
        content = path.read_bytes()
        assert content == content[:1] * size
