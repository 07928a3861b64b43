"""The processes that a peer started, found through /proc."""

from __future__ import annotations

from pathlib import Path


def children(pid: int) -> dict[str, int]:
    """The processes that a peer started, by what they are: its trainer, its daemon."""
    found = {}
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in map(int, listed):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        name = Path(words[0].decode()).name
        found["daemon" if name == "p2pd" else "trainer"] = child
    return found
