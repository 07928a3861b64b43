"""What the processes of a running network cost: processor time, memory, open files, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One peer's processes at a moment; processor seconds since they started."""

    time_ms: int
    node_s: float
    daemon_s: float
    trainer_s: float
    rss_bytes: int
    """Of the node alone, as are the files and threads."""
    files: int
    threads: int


def sample(pid: int) -> Sample | None:
    """The processes of the peer whose node has this id; None once it is gone."""
    daemon_s = trainer_s = 0.0
    try:
        node_s = _processor_s(pid)
        for child in _children(pid):
            name = (_PROC / str(child) / "comm").read_text().strip()
            if name == "p2pd":
                daemon_s += _processor_s(child)
            else:
                trainer_s += _processor_s(child)
        status = (_PROC / str(pid) / "status").read_text()
        files = len(list((_PROC / str(pid) / "fd").iterdir()))
    except (OSError, ProcessLookupError):
        return None
    return Sample(
        time_ms=time.time_ns() // 1_000_000,
        node_s=node_s,
        daemon_s=daemon_s,
        trainer_s=trainer_s,
        rss_bytes=_field(status, "VmRSS") * _KIB,
        files=files,
        threads=_field(status, "Threads"),
    )


def _processor_s(pid: int) -> float:
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _children(pid: int) -> Iterator[int]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    yield int(entry.name)


def _field(status: str, name: str) -> int:
    """A number of `/proc/PID/status`; 0 where a process that has just ended has none."""
    found = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(found[0].split()[1]) if found else 0
