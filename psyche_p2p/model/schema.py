"""The schema: what two peers must agree on before their parameters mean the same.

It is the tier-0 form of the model, whatever slice a peer holds: every setting that changes what is
computed, and name, shape and type of every tensor. How weights are first drawn and which tiers a
run allows change neither, so they are not in it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from psyche_p2p.config import ModelConfig
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
    lines = (f"{key}={value}".encode() for key, value in schema.items())
    return SchemaHash(hash_parts("model schema", *lines))


def schema_differences(left: Schema, right: Schema) -> list[tuple[str, str, str]]:
    """Every field that differs, with both values; a field that one side lacks is '(none)' there."""
    return [
        (key, _readable(left.get(key)), _readable(right.get(key)))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def _field(value: object) -> str:
    """A value in its one spelling: a float by the digits of its IEEE-754 form."""
    if isinstance(value, float):
        return _FLOAT + struct.pack(">d", value).hex()
    return str(value)


def _readable(field: str | None) -> str:
    if field is None:
        return "(none)"
    if field.startswith(_FLOAT):
        (number,) = struct.unpack(">d", bytes.fromhex(field.removeprefix(_FLOAT)))
        return repr(number)
    return field
