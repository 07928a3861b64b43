"""The unsigned varint of protobuf and multiformats: seven bits a byte, least significant first."""

from __future__ import annotations

MAX_VARINT_BYTES = 9  # as multiformats allows: values below 2**63
_MORE = 0x80


def encode_varint(value: int) -> bytes:
    """The shortest encoding of a value from 0 to 2**63 - 1."""
    if not 0 <= value < 1 << 63:
        raise ValueError(f"a varint holds 0 to 2**63 - 1, not {value}")
    encoded = bytearray()
    while value >= _MORE:
        encoded.append(value & 0x7F | _MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(data: bytes | bytearray) -> tuple[int, int] | None:
    """(value, bytes used) of the varint that `data` begins with; None if it is not all there yet.

    ValueError for one that is longer than nine bytes or than its value needs.
    """
    value = 0
    for position, byte in enumerate(data[:MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < _MORE:
            if byte == 0 and position > 0:
                raise ValueError("a varint with superfluous bytes")
            return value, position + 1
    if len(data) >= MAX_VARINT_BYTES:
        raise ValueError(f"a varint of more than {MAX_VARINT_BYTES} bytes")
    return None
