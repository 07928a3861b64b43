"""How a benchmark reports: one line of JSON a figure, and timings taken turn by turn."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def report(figure: str, value: float, unit: str = "", **details: Any) -> None:
    """Print one figure as a line of JSON."""
    print(json.dumps({"figure": figure, "value": value, "unit": unit, **details}), flush=True)


def time_in_turns(
    contenders: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of every run of every contender, run turn by turn so that all meet the same noise."""
    for contender in contenders.values():
        for _ in range(warm_up):
            contender()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def median_ratio(slower: list[float], faster: list[float]) -> float:
    """How many times faster: the median of the ratios of runs that stood side by side."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))
