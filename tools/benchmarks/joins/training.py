"""How fast a step loop is, alone and while something else goes on, on one core."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

_WARM_UP_S = 1.0
_ALONE_S = 8.0


@dataclass
class Measured:
    """Steps a second."""

    rate: float = 0.0


class Training:
    """A step loop that runs while this is entered."""

    def __init__(self, folder: Path, core: int) -> None:
        self._counter = folder / "steps"
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._counter.write_bytes(bytes(8))
        steps = str(Path(__file__).with_name("steps.py"))
        words = ["taskset", "-c", str(self._core), sys.executable, steps, str(self._counter)]
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(words, env={**os.environ, **alone})
        while not self._steps():
            time.sleep(0.05)
        time.sleep(_WARM_UP_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def rate(self) -> float:
        """Steps a second while nothing else is asked of the core."""
        with self.measured() as alone:
            time.sleep(_ALONE_S)
        return alone.rate

    @contextmanager
    def measured(self) -> Iterator[Measured]:
        """Steps a second of the block, known at its end."""
        measured = Measured()
        steps, began = self._steps(), time.monotonic()
        yield measured
        measured.rate = (self._steps() - steps) / (time.monotonic() - began)

    def _steps(self) -> int:
        steps: int = struct.unpack("<q", self._counter.read_bytes())[0]
        return steps
