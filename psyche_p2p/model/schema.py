"""The schema: what two peers must agree on before their parameters mean the same.

It is the tier-0 form of the model, whatever slice a peer holds: every setting that changes what is
computed, and name, shape and type of every tensor. How weights are first drawn and which tiers a
run allows change neither, so they are not in it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import ModelError
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import SchemaHash
from psyche_p2p.model.shapes import parameter_shapes

Schema = Mapping[str, str]
_FLOAT = "f64:"
_NOT_IN_SCHEMA = frozenset({"init_std", "max_tier"})


def model_schema(config: ModelConfig, dtypes: Mapping[str, str] | None = None) -> Schema:
    """The schema as sorted fields. Tensors whose type is not given are float32, as in training."""
    fields = {
        f"config.{key}": _field(value)
        for key, value in config.model_dump().items()
        if key not in _NOT_IN_SCHEMA
    }
    for name, shape in parameter_shapes(config).items():
        fields[f"tensor.{name}"] = f"{(dtypes or {}).get(name, 'float32')}{list(shape)}"
    return dict(sorted(fields.items()))


def schema_hash(schema: Schema) -> SchemaHash:
    """BLAKE3 over all fields."""
    return SchemaHash(hash_parts("model schema", *_lines(schema)))


def encode_schema(schema: Schema) -> bytes:
    """The lines that are hashed, for peers to hand over when their hashes differ."""
    return b"\n".join(_lines(schema))


def decode_schema(data: bytes, source: str) -> Schema:
    """A schema from outside; a ModelError naming `source` for anything else."""
    try:
        lines = [line.partition("=") for line in data.decode().split("\n")]
    except UnicodeDecodeError as error:
        raise ModelError(f"{source} is not a model's schema") from error
    fields = {key: value for key, _, value in lines}
    if not all(key and equals and (key + value).isprintable() for key, equals, value in lines):
        raise ModelError(f"{source} is not a model's schema")
    if list(fields) != sorted(key for key, _, _ in lines):
        raise ModelError(f"{source} is not a model's schema: its fields are not in order")
    return fields


def schema_differences(left: Schema, right: Schema) -> list[tuple[str, str, str]]:
    """Every field that differs, with both values; a field that one side lacks is '(none)' there."""
    return [
        (key, _readable(left.get(key)), _readable(right.get(key)))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def describe_schema_difference(ours: Schema, theirs: Schema) -> str:
    """The first field that differs, with both values; empty if none does."""
    for field, here, there in schema_differences(ours, theirs):
        return f"{field} is {there} there, {here} here"
    return ""


def _lines(schema: Schema) -> list[bytes]:
    return [f"{key}={value}".encode() for key, value in schema.items()]


def _field(value: object) -> str:
    """A value in its one spelling: a float by the digits of its IEEE-754 form."""
    if isinstance(value, float):
        return _FLOAT + struct.pack(">d", value).hex()
    return str(value)


def _readable(field: str | None) -> str:
    if field is None:
        return "(none)"
    if field.startswith(_FLOAT):
        try:
            (number,) = struct.unpack(">d", bytes.fromhex(field.removeprefix(_FLOAT)))
        except (ValueError, struct.error):
            return field  # another's, and none of our making
        return repr(number)
    return field
