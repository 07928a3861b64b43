"""How one field of a message travels: its Python type decides its bytes and what is refused.

Every converter is a pair of functions, both strict: what cannot be sent raises ValueError here
before it can confuse anyone else, and what comes from outside is checked for range and length.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sized
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from psyche_p2p import ids
from psyche_p2p.hashing import DIGEST_BYTES
from psyche_p2p.identity import is_acceptable_key

MAX_UINT32 = 2**32 - 1
MAX_UINT63 = 2**63 - 1
MAX_TEXT_CHARACTERS = 1024
_FIXED_LENGTHS: dict[Any, int] = {
    ids.RunId: DIGEST_BYTES,
    ids.BlobHash: DIGEST_BYTES,
    ids.BlockHash: DIGEST_BYTES,
    ids.StateRoot: DIGEST_BYTES,
    ids.ParamRoot: DIGEST_BYTES,
    ids.SchemaHash: DIGEST_BYTES,
    ids.Signature: ids.SIGNATURE_BYTES,
}
_MAX_COUNTS: dict[Any, int] = {ids.ParamRoot: ids.MAX_TIER + 1}


@dataclass(frozen=True, slots=True)
class Converter:
    """To and from what protobuf holds; both directions raise ValueError for what is not allowed."""

    to_proto: Callable[[Any], Any]
    from_proto: Callable[[Any], Any]


class MessageConverter:
    """A dataclass and the protobuf message of the same fields."""

    def __init__(self, message_type: type[Any], descriptor: Descriptor) -> None:
        self._message_type = message_type
        self._proto_class: type[Message] = GetMessageClass(descriptor)
        hints = get_type_hints(message_type)
        names = [field.name for field in fields(message_type)]
        described = list(descriptor.fields_by_name)
        if names != described:
            raise TypeError(f"{message_type.__name__} has {names}, its .proto has {described}")
        self._fields = [
            _Field(name, hints[name], descriptor.fields_by_name[name]) for name in names
        ]

    def to_proto(self, message: Any) -> Message:
        proto = self._proto_class()
        for field in self._fields:
            field.write(getattr(message, field.name), proto)
        return proto

    def from_proto(self, proto: Message) -> Any:
        return self._message_type(*(field.read(proto) for field in self._fields))

    def parse(self, data: bytes) -> Message:
        """The protobuf message in these bytes; DecodeError if there is none."""
        return self._proto_class.FromString(data)


class _Field:
    """One field: present, optional, or repeated."""

    def __init__(self, name: str, hint: Any, descriptor: FieldDescriptor) -> None:
        self.name = name
        item, self._is_repeated, self._is_optional = _unwrap(hint)
        self._max_count = _MAX_COUNTS.get(item)
        self._is_message = descriptor.message_type is not None
        self._needs_presence = self._is_optional or (self._is_message and not self._is_repeated)
        self._converter = (
            MessageConverter(item, descriptor.message_type)
            if self._is_message
            else _scalar_converter(item, descriptor)
        )

    def write(self, value: Any, proto: Message) -> None:
        if value is None:
            if not self._is_optional:
                raise ValueError(f"{self.name} is missing")
            return
        try:
            self._write_present(value, proto)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.name}: {error}") from error

    def _write_present(self, value: Any, proto: Message) -> None:
        to_proto = self._converter.to_proto
        if self._is_repeated:
            self._require_few(value)
            getattr(proto, self.name).extend([to_proto(item) for item in value])
        elif self._is_message:
            getattr(proto, self.name).CopyFrom(to_proto(value))
        else:
            setattr(proto, self.name, to_proto(value))

    def read(self, proto: Message) -> Any:
        if self._needs_presence and not proto.HasField(self.name):
            if self._is_optional:
                return None
            raise ValueError(f"{self.name} is missing")
        value = getattr(proto, self.name)
        try:
            if self._is_repeated:
                self._require_few(value)
                return tuple(self._converter.from_proto(item) for item in value)
            return self._converter.from_proto(value)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def _require_few(self, values: Sized) -> None:
        if self._max_count is not None and len(values) > self._max_count:
            raise ValueError(f"needs at most {self._max_count} values")


def _unwrap(hint: Any) -> tuple[Any, bool, bool]:
    """(item type, repeated?, optional?) of a field's annotation."""
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True, False
    if get_origin(hint) in (Union, types.UnionType):
        (item,) = (argument for argument in get_args(hint) if argument is not type(None))
        return item, False, True
    return hint, False, False


def _scalar_converter(hint: Any, descriptor: FieldDescriptor) -> Converter:
    if hint is ids.PeerId:
        return Converter(ids.public_key_from_peer_id, _peer_id)
    if hint in _FIXED_LENGTHS:
        return _both(_fixed_length(_FIXED_LENGTHS[hint]))
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return Converter(lambda value: int(hint(value)), hint)
    base = hint.__supertype__ if isinstance(hint, NewType) else hint
    if base is int:
        is_small = descriptor.type == FieldDescriptor.TYPE_UINT32
        return _both(_unsigned(MAX_UINT32 if is_small else MAX_UINT63))
    if base in _PLAIN:
        return _both(_PLAIN[base])
    raise TypeError(f"no rule for how {hint!r} travels")


def _both(check: Callable[[Any], Any]) -> Converter:
    return Converter(check, check)


def _peer_id(key: bytes) -> ids.PeerId:
    if not is_acceptable_key(key):
        raise ValueError("not a peer's public key")
    return ids.peer_id_from_public_key(ids.PublicKey(key))


def _fixed_length(length: int) -> Callable[[Any], bytes]:
    def check(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != length:
            raise ValueError(f"needs {length} bytes")
        return value

    return check


def _unsigned(maximum: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
            raise ValueError(f"needs a whole number from 0 to {maximum}")
        return value

    return check


def _check_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("needs a truth value")
    return value


def _check_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("needs bytes")
    return value


def _check_float(value: Any) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError("needs a finite number")
    return value + 0.0  # there is one zero


def _check_text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS or not value.isprintable():
        raise ValueError(f"needs printable text of at most {MAX_TEXT_CHARACTERS} characters")
    return value


_PLAIN: dict[Any, Callable[[Any], Any]] = {
    bool: _check_bool,
    bytes: _check_bytes,
    float: _check_float,
    str: _check_text,
}
