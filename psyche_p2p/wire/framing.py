"""Messages in a stream of bytes: each preceded by its length as a varint (sans-IO)."""

from __future__ import annotations

from psyche_p2p.errors import WireCode, WireError
from psyche_p2p.wire.varint import decode_varint, encode_varint


def encode_frame(payload: bytes) -> bytes:
    """A payload with its length in front."""
    return encode_varint(len(payload)) + payload


class FrameDecoder:
    """Turns chunks of a stream into frames; holds at most one frame of the allowed size.

    After an error the stream has no meaning any more, and every further call fails.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._failed = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now that this chunk has come."""
        if self._failed:
            raise WireError(WireCode.MALFORMED, "the stream has already failed")
        self._buffer += data
        frames = []
        try:
            while (frame := self._next_frame()) is not None:
                frames.append(frame)
        except WireError:
            self._failed = True
            self._buffer.clear()
            raise
        return frames

    def finish(self) -> None:
        """Say that the stream has ended; an error if it ended inside a frame."""
        if self._buffer:
            self._failed = True
            raise WireError(WireCode.MALFORMED, "the stream ends inside a frame")

    def _next_frame(self) -> bytes | None:
        try:
            prefix = decode_varint(self._buffer)
        except ValueError as error:
            raise WireError(WireCode.MALFORMED, f"a frame's length is {error}") from error
        if prefix is None:
            return None
        size, used = prefix
        if size > self._max_frame_bytes:
            cause = f"a frame of {size} bytes, at most {self._max_frame_bytes} are allowed"
            raise WireError(WireCode.TOO_LARGE, cause)
        if len(self._buffer) < used + size:
            return None
        frame = bytes(self._buffer[used : used + size])
        del self._buffer[: used + size]
        return frame
