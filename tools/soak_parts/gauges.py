"""The memory and the open files of one process, over as long as it lives."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

from benchmarks.rounds.samples import Sample, sample

_EVERY_S = 2.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Growth:
    """Means over the first and the last quarter of a node's life."""

    seconds: float
    rss_first_mib: float
    rss_last_mib: float
    files_first: float
    files_last: float


@dataclass(slots=True)
class Gauge:
    """Samples of one peer's node; those of the process that runs now."""

    samples: list[Sample] = field(default_factory=list)
    _pid: int = 0
    _next_s: float = 0.0

    def read(self, pid: int, now_s: float) -> None:
        """Take a sample, if it is time for one."""
        if pid != self._pid:
            self._pid, self.samples = pid, []
        if now_s >= self._next_s:
            self._next_s = now_s + _EVERY_S
            taken = sample(pid)
            if taken is not None:
                self.samples.append(taken)

    def growth(self) -> Growth | None:
        """What has become more; None before there is a quarter of anything."""
        quarter = len(self.samples) // 4
        if not quarter:
            return None
        first, last = self.samples[:quarter], self.samples[-quarter:]
        return Growth(
            seconds=(last[-1].time_ms - first[0].time_ms) / 1000,
            rss_first_mib=round(fmean(one.rss_bytes for one in first) / _MIB, 1),
            rss_last_mib=round(fmean(one.rss_bytes for one in last) / _MIB, 1),
            files_first=round(fmean(one.files for one in first), 1),
            files_last=round(fmean(one.files for one in last), 1),
        )
