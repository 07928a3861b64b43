"""The run's log on this machine's disk: appended to, read back, served to others.

The format is `coordinator.logfile`'s. A crash may cut the last entry short; it is dropped, because
whoever decided it can be asked for it again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
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

_Span = tuple[int, int]  # where a frame's content begins, and its size


class LogStore:
    """One run's decided blocks, in order from height 1."""

    def __init__(self, path: Path, head: LogHead, descriptor: int, spans: list[_Span]) -> None:
        self.head = head
        self._path = path
        self._descriptor = descriptor
        self._spans = spans[_HEAD_FRAMES:]
        self._end = sum(spans[-1])

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
                spans = _scan(descriptor, path)
                contents = (os.pread(descriptor, size, at) for at, size in spans[:_HEAD_FRAMES])
                head = decode_log_head(contents)
                os.ftruncate(descriptor, sum(spans[-1]))
            except OSError as error:
                raise storage_error("cannot read", path, error) from error
            undo.pop_all()
        return cls(path, head, descriptor, spans)

    @property
    def height(self) -> Height:
        """The last block's."""
        return Height(len(self._spans))

    def append(self, decided: DecidedBlock) -> None:
        """Keep the next block; it survives a power cut when this returns."""
        if decided.block.height != self.height + 1:
            raise StorageError(f"block {decided.block.height} does not follow {self.height}")
        entry = encode_log_entry(decided)
        try:
            if os.pwrite(self._descriptor, entry, self._end) != len(entry):
                raise StorageError(f"cannot write {str(self._path)!r}", "free some space")
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise storage_error("cannot write", self._path, error) from error
        prefix = decode_varint(entry[:MAX_VARINT_BYTES])
        assert prefix is not None, "we have just written it"
        self._spans.append((self._end + prefix[1], prefix[0]))
        self._end += len(entry)

    def blocks(self, first: Height, count: int) -> Sequence[DecidedBlock]:
        """Up to `count` blocks from a height on, as many as there are."""
        last = min(first + count, self.height + 1)
        return [self._read(height) for height in range(max(first, 1), last)]

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(self, height: int) -> DecidedBlock:
        at, size = self._spans[height - 1]
        try:
            return decode(DecidedBlock, os.pread(self._descriptor, size, at))
        except OSError as error:
            raise storage_error("cannot read", self._path, error) from error
        except WireError as error:
            cause = f"block {height} in {str(self._path)!r} is damaged"
            raise StorageError(cause, _CURE) from error


def _scan(descriptor: int, path: Path) -> list[_Span]:
    """The content of every whole frame."""
    end, at = os.fstat(descriptor).st_size, 0
    spans: list[_Span] = []
    while (prefix := _read_prefix(descriptor, at)) is not None:
        size, used = prefix
        if size > MAX_LOG_FRAME_BYTES or at + used + size > end:
            break
        spans.append((at + used, size))
        at += used + size
    if at < end and len(spans) >= _HEAD_FRAMES:
        blocks = len(spans) - _HEAD_FRAMES
        _log.warning("the end of the log is dropped", bytes=end - at, blocks_left=blocks)
    if len(spans) < _HEAD_FRAMES:
        raise StorageError(f"{str(path)!r} is not the log of a run", _CURE)
    return spans


def _read_prefix(descriptor: int, at: int) -> tuple[int, int] | None:
    """A frame's length and the bytes that takes; None where no frame begins."""
    try:
        return decode_varint(os.pread(descriptor, MAX_VARINT_BYTES, at))
    except ValueError:
        return None
