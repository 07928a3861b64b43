"""The one error of this package: bytes that are not the blob they claim to be."""

from __future__ import annotations

from psyche_p2p.errors import ExitCode, RemoteError


class BlobError(RemoteError):
    """Bytes from outside that are not an acceptable blob, chunk or manifest."""

    exit_code = ExitCode.INVALID
