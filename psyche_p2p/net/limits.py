"""How much one caller may ask for: token buckets for bytes and calls, counted per caller.

Pure: whoever calls brings the time. What is remembered is bounded, so that a stranger with many
addresses costs no more memory than one with few.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import BlobHash

MIB = 1 << 20
MAX_REMEMBERED_CALLERS = 4096


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one service grants."""

    calls_per_s: float = 200.0
    """Of one caller, on average; it may save up `burst_s` seconds' worth."""
    concurrent_calls: int = 16
    """Of one caller at a time."""
    total_calls: int = 256
    """Of all callers at a time; each costs at most 4 MiB."""
    bytes_per_s: float = float("inf")
    """To one caller."""
    total_bytes_per_s: float = float("inf")
    """To all callers together."""
    burst_s: float = 1.0
    stall_s: float = 20.0
    """A caller that takes or sends nothing for so long loses its call."""
    max_call_s: float = 600.0


class TokenBucket:
    """So many tokens a second, saved up to a limit."""

    def __init__(self, rate_per_s: float, capacity: float) -> None:
        self._rate_per_s = rate_per_s
        self._capacity = capacity
        self._tokens = capacity
        self._updated_s: float | None = None

    def try_take(self, amount: float, now: float) -> bool:
        """Take tokens if there are enough."""
        self._refill(now)
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def spend(self, amount: float, now: float) -> float:
        """Take tokens, on credit if need be; the seconds to wait until the debt is paid."""
        self._refill(now)
        self._tokens -= amount
        return max(0.0, -self._tokens / self._rate_per_s)

    def _refill(self, now: float) -> None:
        if self._rate_per_s == float("inf"):
            self._tokens = self._capacity
            return
        elapsed_s = 0.0 if self._updated_s is None else max(0.0, now - self._updated_s)
        self._tokens = min(self._capacity, self._tokens + elapsed_s * self._rate_per_s)
        self._updated_s = now


class CallerBuckets:
    """A bucket for each caller, of the callers seen last."""

    def __init__(self, rate_per_s: float, capacity: float) -> None:
        self._rate_per_s = rate_per_s
        self._capacity = capacity
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def of(self, caller: str) -> TokenBucket:
        bucket = self._buckets.pop(caller, None) or TokenBucket(self._rate_per_s, self._capacity)
        self._buckets[caller] = bucket
        if len(self._buckets) > MAX_REMEMBERED_CALLERS:
            self._buckets.popitem(last=False)
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)


class Pace:
    """One rate for everything that is sent of some blobs, whoever asks and on whichever port."""

    def __init__(self, bytes_per_s: float, covers: Callable[[BlobHash], bool]) -> None:
        self._bucket = TokenBucket(bytes_per_s, MIB)
        self._covers = covers

    def wait_s(self, blob_hash: BlobHash, size_bytes: int, now: float) -> float:
        """Count bytes of a blob; the seconds to wait before they may be sent."""
        return self._bucket.spend(size_bytes, now) if self._covers(blob_hash) else 0.0


class Turnstile:
    """Lets calls in and bytes out within the limits."""

    def __init__(self, limits: CallLimits) -> None:
        self.limits = limits
        self._calls = CallerBuckets(limits.calls_per_s, limits.calls_per_s * limits.burst_s)
        self._bytes = CallerBuckets(limits.bytes_per_s, _burst_bytes(limits.bytes_per_s, limits))
        self._total = TokenBucket(
            limits.total_bytes_per_s, _burst_bytes(limits.total_bytes_per_s, limits)
        )
        self._running: Counter[str] = Counter()

    @contextmanager
    def enter(self, caller: str, now: float) -> Iterator[None]:
        """Hold a place for one call; Unavailable if the caller has had its share."""
        if not self._calls.of(caller).try_take(1, now):
            raise Unavailable("too many calls a second", "ask less often")
        if self._running[caller] >= self.limits.concurrent_calls:
            raise Unavailable("too many calls at once", "wait for the others to end")
        if self._running.total() >= self.limits.total_calls:
            raise Unavailable("this peer is busy", "ask another, or later")
        self._running[caller] += 1
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]

    def spend_bytes(self, caller: str, amount: int, now: float) -> float:
        """Count bytes to a caller; the seconds to wait before they may be sent."""
        own_s = self._bytes.of(caller).spend(amount, now)
        return max(own_s, self._total.spend(amount, now))


def _burst_bytes(rate_per_s: float, limits: CallLimits) -> float:
    """A tenth of a second's worth, and at least a chunk: less would only make waits uneven."""
    return MIB if rate_per_s == float("inf") else max(MIB, rate_per_s * limits.burst_s / 10)
