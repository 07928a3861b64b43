"""The run's log on this machine's disk: appended to, read back, served to others.

The format is `coordinator.logfile`'s. A crash may cut the last entry short; it is dropped, because
whoever decided it can be asked for it again.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from typing_extensions import Self

from psyche_p2p.coordinator.logfile import (
    MAX_LOG_FRAME_BYTES,
    LogHead,
    decode_log_head,
    encode_log_entry,
    encode_log_head,
)
from psyche_p2p.errors import StorageError, WireError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.ids import Height
from psyche_p2p.log import get_logger
from psyche_p2p.wire import DecidedBlock, decode
from psyche_p2p.wire.varint import MAX_VARINT_BYTES, decode_varint

_log = get_logger(__name__)
_HEAD_FRAMES = 4
_CURE = "move the file away: the peer fetches the log again"


class LogStore:
    """One run's decided blocks, in order from height 1."""

    def __init__(self, path: Path, head: LogHead, descriptor: int, ends: array[int]) -> None:
        self.head = head
        self._path = path
        self._descriptor = descriptor
        self._ends = ends
        """Of the head and of each block: eight bytes a block is all that memory has of them."""

    @classmethod
    def create(cls, path: Path, head: LogHead) -> Self:
        """Begin a log; an existing one is left alone and reported."""
        write_atomically(path, encode_log_head(head), mode=0o600, replace=False)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The log in a file, cut back to its last whole block; BrokenLog if its head is damaged."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise storage_error("cannot open", path, error) from error
        with ExitStack() as undo:
            undo.callback(os.close, descriptor)
            try:
                ends = _scan(descriptor, path)
                begins = (0, *ends[: _HEAD_FRAMES - 1])
                contents = map(partial(_read_frame, descriptor), begins, ends[:_HEAD_FRAMES])
                head = decode_log_head(contents)
                os.ftruncate(descriptor, ends[-1])
            except OSError as error:
                raise storage_error("cannot read", path, error) from error
            undo.pop_all()
        return cls(path, head, descriptor, ends[_HEAD_FRAMES - 1 :])

    @property
    def height(self) -> Height:
        """The last block's."""
        return Height(len(self._ends) - 1)

    def append(self, decided: DecidedBlock) -> None:
        """Keep the next block; it survives a power cut when this returns."""
        if decided.block.height != self.height + 1:
            raise StorageError(f"block {decided.block.height} does not follow {self.height}")
        entry, end = encode_log_entry(decided), self._ends[-1]
        try:
            if os.pwrite(self._descriptor, entry, end) != len(entry):
                raise StorageError(f"cannot write {str(self._path)!r}", "free some space")
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise storage_error("cannot write", self._path, error) from error
        self._ends.append(end + len(entry))

    def blocks(self, first: Height, count: int) -> Sequence[DecidedBlock]:
        """Up to `count` blocks from a height on, as many as there are."""
        last = min(first + count, self.height + 1)
        return [self._read(height) for height in range(max(first, 1), last)]

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(self, height: int) -> DecidedBlock:
        begin, end = self._ends[height - 1 : height + 1]
        try:
            return decode(DecidedBlock, _read_frame(self._descriptor, begin, end))
        except OSError as error:
            raise storage_error("cannot read", self._path, error) from error
        except WireError as error:
            cause = f"block {height} in {str(self._path)!r} is damaged"
            raise StorageError(cause, _CURE) from error


def _scan(descriptor: int, path: Path) -> array[int]:
    """Where every whole frame ends."""
    end, at = os.fstat(descriptor).st_size, 0
    ends = array("Q")
    while (prefix := _read_prefix(descriptor, at)) is not None:
        size, used = prefix
        if size > MAX_LOG_FRAME_BYTES or at + used + size > end:
            break
        at += used + size
        ends.append(at)
    if at < end and len(ends) >= _HEAD_FRAMES:
        blocks = len(ends) - _HEAD_FRAMES
        _log.warning("the end of the log is dropped", bytes=end - at, blocks_left=blocks)
    if len(ends) < _HEAD_FRAMES:
        raise StorageError(f"{str(path)!r} is not the log of a run", _CURE)
    return ends


def _read_frame(descriptor: int, begin: int, end: int) -> bytes:
    """The content of a frame that is known to be whole; nothing, if it no longer is."""
    frame = os.pread(descriptor, end - begin, begin)
    prefix = _read_prefix(descriptor, begin)
    return b"" if prefix is None else frame[prefix[1] :]


def _read_prefix(descriptor: int, at: int) -> tuple[int, int] | None:
    """A frame's length and the bytes that takes; None where no frame begins."""
    try:
        return decode_varint(os.pread(descriptor, MAX_VARINT_BYTES, at))
    except ValueError:
        return None
