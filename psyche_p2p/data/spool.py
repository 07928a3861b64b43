"""An array too large for memory: written once, front to back, into a nameless file, then mapped.

The file is below the system's folder for temporary files (TMPDIR) and is gone with the process.
"""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error

_BUFFER_BYTES = 1 << 20


class Spool:
    """Takes an array piece by piece."""

    def __init__(self, dtype: np.dtype[np.integer]) -> None:
        self.count = 0
        self._dtype = dtype
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._file = tempfile.TemporaryFile(buffering=_BUFFER_BYTES)
        except OSError as error:
            raise self._failed(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, numbers: npt.NDArray[np.integer]) -> None:
        assert self._file is not None
        assert numbers.dtype == self._dtype
        try:
            self._file.write(numbers.tobytes())
        except OSError as error:
            raise self._failed(error) from error
        self.count += len(numbers)

    def finish(self) -> npt.NDArray[np.integer]:
        """All that was appended, mapped."""
        assert self._file is not None
        if self.count == 0:
            raise DataError("there are no tokens in the data", "check the files")
        try:
            self._file.flush()
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise self._failed(error) from error
        return np.frombuffer(mapped, dtype=self._dtype)

    @staticmethod
    def _failed(error: OSError) -> Exception:
        return storage_error("cannot keep decoded data in", Path(tempfile.gettempdir()), error)
