"""What the C library keeps once it has been told: chunks, once, and nothing that is larger."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")

# A process of its own: what is said to the allocator is said for good.
_PROGRAM = """
import os, threading
from psyche_p2p.net.allocator import keep_freed_memory

MIB = 1 << 20

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB

assert keep_freed_memory()
pins = []  # small things that outlive what lies before them: without them nothing leaves a hole
def use(mib, count):
    held = []
    for _ in range(count):
        held.append(b"x" * int(mib * MIB))
        pins.append(b"p" * 600)
"""


def _gained(program: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_what_is_larger_than_a_chunk_goes_back_at_once() -> None:
    gained = _gained("before = resident(); use(1.8, 20); print(resident() - before)")
    assert gained < 4


def test_the_memory_of_chunks_is_kept() -> None:
    gained = _gained("before = resident(); use(1, 20); print(resident() - before)")
    assert 15 < gained < 24


def test_threads_share_what_is_kept() -> None:
    """Each holds a chunk in its turn, and all live on: with memory of their own they kept eight."""
    program = """
done = threading.Event()
def work(turn, then):
    turn.wait()
    use(1, 1)
    then.set()
    done.wait()

turns = [threading.Event() for _ in range(9)]
threads = [threading.Thread(target=work, args=pair) for pair in zip(turns, turns[1:])]
for thread in threads:
    thread.start()
before = resident()
turns[0].set()
turns[-1].wait()
print(resident() - before)
done.set()
"""
    assert _gained(program) < 5
