"""The write-ahead log: what a peer must remember so that it never says two things.

A record is written before the statement in it is sent. Where records live is the driver's business
(a file in the node, a list in the simulator); the core says what to write and, after a restart,
takes back what was written. Decided blocks make the records of their height worthless.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from psyche_p2p.consensus.effects import WalRecord
from psyche_p2p.errors import StorageError, WireError
from psyche_p2p.ids import Height, RunId
from psyche_p2p.wire import StoredStatement, decode, encode, open_envelope


class WriteAheadLog(Protocol):
    """Where records are kept; `append` returns once the record survives a crash of this process."""

    def append(self, record: WalRecord) -> None:
        """Keep a record."""

    def load(self) -> Sequence[WalRecord]:
        """Every record kept, oldest first; StorageError if any was damaged."""

    def forget_through(self, height: Height) -> None:
        """Drop the records of this height and of all before it."""


def encode_record(record: WalRecord) -> bytes:
    """The record as bytes for a file."""
    reasons = tuple(reason.raw for reason in record.reasons)
    return encode(StoredStatement(record.height, record.own.raw, reasons))


def decode_record(data: bytes, run_id: RunId) -> WalRecord:
    """The record in bytes read back; StorageError if they are not what was written."""
    try:
        stored = decode(StoredStatement, data)
        own = open_envelope(stored.own, run_id)
        reasons = tuple(open_envelope(reason, run_id) for reason in stored.reasons)
    except WireError as error:
        cause = f"a record of the write-ahead log is not one of this run ({error.cause})"
        raise StorageError(
            cause, "move the log away; the peer votes again once it caught up"
        ) from error
    return WalRecord(stored.height, own, reasons)
