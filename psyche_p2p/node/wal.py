"""The write-ahead log as a file: checksummed records after a header that names the run.

    file    = header record*
    header  = "psyche-p2p wal 1\n" run_id
    record  = prefix body
    prefix  = u32le length of the body, BLAKE3(length) cut to 4 bytes, BLAKE3(body) cut to 16 bytes

The body is a StoredStatement. The file may end before its last record does: that is a write which a
crash cut short, its statement was never sent, and it is dropped. Anything else that does not check
is damage, and the peer must not vote as if it remembered (`consensus.memory`).
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from psyche_p2p.consensus.effects import WalRecord
from psyche_p2p.consensus.wal import decode_record, encode_record
from psyche_p2p.errors import StorageError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import Height, RunId
from psyche_p2p.log import get_logger

_MAGIC = b"psyche-p2p wal 1\n"
_LENGTH_BYTES = 4
_LENGTH_CHECK_BYTES = 4
_BODY_CHECK_BYTES = 16
_PREFIX_BYTES = _LENGTH_BYTES + _LENGTH_CHECK_BYTES + _BODY_CHECK_BYTES
_log = get_logger(__name__)
_CURE = "move the file away and start again: the peer votes once it has caught up"


class FsyncPolicy(Enum):
    """What an append survives."""

    ALWAYS = "always"
    """A power cut: every record reaches the disk before its statement is sent."""
    NEVER = "never"
    """The end of this process, not a power cut."""


class FileWal:
    """One peer's write-ahead log in one run."""

    def __init__(self, path: Path, run_id: RunId, policy: FsyncPolicy = FsyncPolicy.ALWAYS) -> None:
        self._path = path
        self._header = _MAGIC + run_id
        self._run_id = run_id
        self._policy = policy
        self._latest: Height | None = None

    def create(self) -> None:
        """Begin an empty log, for a peer that never spoke in this run; refuses an existing one."""
        write_atomically(self._path, self._header, mode=0o600, replace=False)

    def append(self, record: WalRecord) -> None:
        """Keep a record; on return it survives what the policy says."""
        body = encode_record(record)
        try:
            with self._path.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(_frame(body))
                file.flush()
                if self._policy is FsyncPolicy.ALWAYS:
                    os.fsync(file.fileno())
        except OSError as error:
            raise storage_error("cannot write", self._path, error) from error
        self._latest = record.height

    def load(self) -> list[WalRecord]:
        """Every record, oldest first; StorageError if the log is missing or damaged.

        A write cut short at the end is removed from the file, so that the next append follows a
        whole record.
        """
        data = self._read()
        if not data.startswith(self._header):
            raise StorageError(f"{str(self._path)!r} is not this run's write-ahead log", _CURE)
        records, offset = [], len(self._header)
        while (body := self._body_at(data, offset)) is not None:
            records.append(decode_record(body, self._run_id))
            offset += _PREFIX_BYTES + len(body)
        if offset < len(data):
            write_atomically(self._path, data[:offset], mode=0o600)
        return records

    def forget_through(self, height: Height) -> None:
        """Drop the records of decided heights; usually that is all of them, unread."""
        is_all = self._latest is not None and self._latest <= height
        kept = [] if is_all else [one for one in self.load() if one.height > height]
        frames = (_frame(encode_record(record)) for record in kept)
        write_atomically(self._path, self._header + b"".join(frames), mode=0o600)

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise storage_error("cannot read", self._path, error) from error

    def _body_at(self, data: bytes, offset: int) -> bytes | None:
        """The record that begins here; None at the end, or where a write was cut short."""
        prefix = data[offset : offset + _PREFIX_BYTES]
        if len(prefix) < _PREFIX_BYTES:
            return None
        length = int.from_bytes(prefix[:_LENGTH_BYTES], "little")
        body = data[offset + _PREFIX_BYTES : offset + _PREFIX_BYTES + length]
        is_sound = prefix.startswith(_length_prefix(length))
        if is_sound and len(body) < length:
            return None
        if not is_sound or prefix != _prefix(body):
            raise StorageError(f"{str(self._path)!r} is damaged at byte {offset}", _CURE)
        return body


def _frame(body: bytes) -> bytes:
    return _prefix(body) + body


def _prefix(body: bytes) -> bytes:
    return _length_prefix(len(body)) + hash_parts("wal-body", body)[:_BODY_CHECK_BYTES]


def _length_prefix(length: int) -> bytes:
    """The length with a check of its own: a damaged one must not look like a short file."""
    encoded = length.to_bytes(_LENGTH_BYTES, "little")
    return encoded + hash_parts("wal-length", encoded)[:_LENGTH_CHECK_BYTES]


def open_wal(path: Path, run_id: RunId) -> tuple[FileWal, bool]:
    """The write-ahead log in a file, and whether it is whole; a damaged one is put aside."""
    wal = FileWal(path, run_id)
    if path.exists():
        try:
            wal.load()
        except StorageError as error:
            aside = path.with_name(path.name + ".damaged")
            _log.error("the write-ahead log is put aside", cause=str(error), path=str(aside))
            path.replace(aside)
        else:
            return wal, True
    wal.create()
    return wal, False
