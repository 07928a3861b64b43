"""Tells the C library to keep the memory that chunks go through, and no other.

glibc gives a freed mebibyte back to the kernel and faults it in again, page by page, for the next:
a third of what receiving a blob costs. What is larger than a chunk (arrays of an update that is
checked) leaves holes that a node would collect for hours, and so does an arena for every thread
(docs/experiments.md has the figures of all three).
"""

from __future__ import annotations

import ctypes
import ctypes.util

_M_TRIM_THRESHOLD = -1  # <malloc.h>
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEPT_BYTES = 128 << 20
_LARGEST_KEPT_BYTES = 5 << 18  # a chunk and its envelope
_ARENAS = 2


def keep_freed_memory() -> bool:
    """For the whole process, so called once where it starts; False where there is no glibc."""
    name = ctypes.util.find_library("c")
    if name is None:
        return False
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (
        (_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES),
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        (_M_ARENA_MAX, _ARENAS),
    )
    accepted = [mallopt(option, value) == 1 for option, value in wanted]
    return all(accepted)
