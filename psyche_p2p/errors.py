"""The one tree of errors, and the exit codes they end in.

    PsycheError                what went wrong (`cause`) and what to do about it (`cure`)
    |-- LocalError             this machine: our bug, our operator, our disk
    |   |-- ConfigError        a run configuration that means nothing
    |   |-- IdentityError      a key file that cannot be used
    |   |-- StorageError       the disk is full, read-only, or holds damaged data
    |   |-- ModelError         a checkpoint, schema or tensor that does not fit
    |   |-- DataError          training data that is missing or not what the manifest says
    |   `-- ResourceError      too little memory, no such device, a taken port
    |-- RemoteError            a peer sent something unacceptable; carries a code
    |   `-- WireError          bytes that are not a message of this protocol
    |-- Rejected               a command the replicated state refuses: identical on every replica
    `-- Unavailable            nothing is wrong here; try again later

Library exceptions are translated at the one boundary where they arise. `assert` guards our own
invariants and nothing that came from outside.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command, as documented in the README."""

    OK = 0
    BUG = 1
    USAGE = 2
    CONFIG = 3
    IDENTITY = 4
    STORAGE = 5
    NETWORK = 6
    REJECTED = 7
    MODEL = 8
    DATA = 9
    RESOURCES = 10
    INVALID = 11
    INTERRUPTED = 130


class PsycheError(Exception):
    """An error a person can read: one line that names the cause and, where known, the cure."""

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, cause: str, cure: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.cause}; {self.cure}" if self.cure else self.cause


class LocalError(PsycheError):
    """Something on this machine: our bug, our operator, our disk."""


class ConfigError(LocalError):
    """A run configuration that cannot be read or contradicts itself."""

    exit_code = ExitCode.CONFIG


class IdentityError(LocalError):
    """A key file that is missing, damaged, foreign, or readable by others."""

    exit_code = ExitCode.IDENTITY


class StorageError(LocalError):
    """The disk refused, or holds something other than what was written."""

    exit_code = ExitCode.STORAGE


class ModelError(LocalError):
    """A checkpoint, schema, tier or tensor that does not fit."""

    exit_code = ExitCode.MODEL


class DataError(LocalError):
    """Training data that is missing, damaged, or not what the manifest says."""

    exit_code = ExitCode.DATA


class ResourceError(LocalError):
    """Too little memory, no such device, a taken port."""

    exit_code = ExitCode.RESOURCES


_KINDS: dict[ExitCode, type[LocalError]] = {
    kind.exit_code: kind
    for kind in (ConfigError, IdentityError, StorageError, ModelError, DataError, ResourceError)
}


def local_error(exit_code: ExitCode, cause: str, cure: str = "") -> LocalError:
    """The error that a child process had, from what it said of it."""
    return _KINDS.get(exit_code, LocalError)(cause, cure)


class RemoteError(PsycheError):
    """A peer sent something unacceptable."""

    exit_code = ExitCode.NETWORK


class WireCode(Enum):
    """Why bytes from outside were refused. The names are protocol (docs/protocol.md)."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    NOT_CANONICAL = "not_canonical"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KIND = "unknown_kind"
    WRONG_RUN = "wrong_run"
    BAD_SIGNATURE = "bad_signature"


class WireError(RemoteError):
    """Bytes that are not an acceptable message of this protocol."""

    def __init__(self, code: WireCode, cause: str, cure: str = "") -> None:
        super().__init__(f"{code.value}: {cause}", cure)
        self.code = code


class Rejected(PsycheError):
    """A command the replicated state refuses, for the same reason on every replica."""

    exit_code = ExitCode.REJECTED


class Unavailable(PsycheError):
    """Nothing is wrong here, but the other side is not there: try again."""

    exit_code = ExitCode.NETWORK
