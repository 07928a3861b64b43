"""Tells the C library to keep the memory that chunks go through.

glibc gives a freed mebibyte back to the kernel and faults it in again, page by page, for the next:
a third of what receiving a blob costs (docs/experiments.md). Kept memory is bounded.
"""

from __future__ import annotations

import ctypes
import ctypes.util

_M_TRIM_THRESHOLD = -1  # <malloc.h>
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 128 << 20
_LARGEST_FROM_HEAP_BYTES = 32 << 20


def keep_freed_memory() -> bool:
    """For the whole process, so called once where it starts; False where there is no glibc."""
    name = ctypes.util.find_library("c")
    if name is None:
        return False
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None)
    if mallopt is None:
        return False
    was_accepted = mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP_BYTES) == 1
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES) == 1 and was_accepted)
