"""Reading JSON that someone else wrote: bounded in size, one object, every key once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from psyche_p2p.errors import ModelError
from psyche_p2p.files import storage_error

_CURE = "fetch the checkpoint again"


def read_json_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise storage_error("cannot read", path, error) from error
    if len(data) > max_bytes:
        raise ModelError(f"{str(path)!r} is larger than {max_bytes} bytes", _CURE)
    return parse_json_object(data, str(path))


def parse_json_object(data: bytes, source: str) -> dict[str, Any]:
    """The object in JSON text; `source` is what errors call it."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ModelError(f"{source!r} is not JSON: {reason}", _CURE) from error
    if not isinstance(value, dict):
        raise ModelError(f"{source!r} does not hold a JSON object", _CURE)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} appears twice")
    return values


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number in JSON")
