"""The canonical bytes of a configuration: one meaning, one byte string, one run id.

The form is JSON without spaces and with keys sorted by code point, every key present (defaults
included), preceded by one line that names the format. Integers are decimal; a float is the object
{"f64": "..."} with its sixteen hexadecimal IEEE-754 digits, most significant first, so that no two
spellings of a number differ and no language has to agree on how to print one. There is one zero.
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

from psyche_p2p.config.load import MAX_CONFIG_BYTES, check_run_config
from psyche_p2p.config.problems import InvalidConfigError, Problem
from psyche_p2p.config.schema import RunConfig
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import RunId

_HEADER = b"psyche-p2p run config 1\n"
_FLOAT_KEY = "f64"
_FLOAT_DIGITS = re.compile(r"[0-9a-f]{16}")


def canonical_bytes(config: RunConfig) -> bytes:
    """The bytes every peer hashes."""
    values = _to_canonical(config.model_dump())
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _HEADER + text.encode()


def run_id(config: RunConfig) -> RunId:
    """The id of the run that a configuration describes."""
    return RunId(hash_bytes(canonical_bytes(config)))


def decode_run_config(data: bytes, source: str) -> RunConfig:
    """The configuration in canonical bytes from anywhere; any other spelling of it is refused."""
    if len(data) > MAX_CONFIG_BYTES or not data.startswith(_HEADER):
        raise _refused(source, "is not a canonical run configuration")
    try:
        values = _from_canonical(json.loads(data[len(_HEADER) :].decode()))
    except (ValueError, RecursionError) as error:
        raise _refused(source, "is not a canonical run configuration") from error
    if not isinstance(values, dict):
        raise _refused(source, "is not a canonical run configuration")
    config = check_run_config(values, source)
    if canonical_bytes(config) != data:
        raise _refused(source, "does not have the canonical spelling")
    return config


def _refused(source: str, reason: str) -> InvalidConfigError:
    return InvalidConfigError(source, [Problem("", None, reason)])


def _to_canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_canonical(item) for item in value]
    if isinstance(value, float):
        return {_FLOAT_KEY: struct.pack(">d", value + 0.0).hex()}
    return value


def _from_canonical(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_FLOAT_KEY}:
            return _decode_float(value[_FLOAT_KEY])
        return {key: _from_canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_canonical(item) for item in value]
    return value


def _decode_float(digits: Any) -> float:
    if not isinstance(digits, str) or not _FLOAT_DIGITS.fullmatch(digits):
        raise ValueError("a float has sixteen hexadecimal digits")
    (number,) = struct.unpack(">d", bytes.fromhex(digits))
    if math.isnan(number):
        raise ValueError("a float must be a number")
    return float(number)
