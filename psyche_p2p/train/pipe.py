"""The typed pipe between a peer, its trainer and that one's workers: a line of JSON a message.

Both ends belong to us, but the pipe is strict all the same: a message of the wrong type or shape is
a bug, and is found where it is made. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any, BinaryIO, get_args

from pydantic import TypeAdapter, ValidationError

from psyche_p2p.errors import LocalError
from psyche_p2p.train import messages, worker_messages

MAX_LINE_BYTES = 16 << 20
_TYPES = {
    kind.__name__: kind
    for kind in (
        *get_args(messages.Command),
        *get_args(messages.Event),
        *get_args(worker_messages.WorkerMessage),
    )
}


class PipeError(LocalError):
    """The other process wrote something that is no message."""


def encode_message(message: Any) -> bytes:
    """A message as a line."""
    name = type(message).__name__
    if isinstance(message, type) or _TYPES.get(name) is not type(message):
        raise PipeError(f"{name} is not a message of the trainer's pipe")
    try:
        return json.dumps({"type": name, **asdict(message)}, allow_nan=False).encode() + b"\n"
    except ValueError as error:
        raise PipeError(f"{name} holds a number that is none") from error


def decode_message(line: bytes) -> Any:
    """The message in a line; PipeError for anything else."""
    try:
        values = json.loads(line)
        kind = values.pop("type")
        if values.keys() != {field.name for field in fields(_TYPES[kind])}:
            raise PipeError(f"not the fields of {kind}")
        # as JSON again, because only there a list may strictly become a tuple
        return _adapter(kind).validate_json(json.dumps(values, allow_nan=False), strict=True)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise PipeError(f"not a message of the trainer's pipe: {line[:200]!r}") from error


class MessagePipe:
    """Blocking messages over two file objects: the trainer's end. Any thread may send."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        line = encode_message(message)
        with self._lock:
            self._outgoing.write(line)
            self._outgoing.flush()

    def receive(self) -> Any | None:
        """The next message, or None once the other end is closed."""
        line = self._incoming.readline(MAX_LINE_BYTES)
        return decode_message(line) if line else None


@lru_cache(maxsize=64)
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_TYPES[name])
