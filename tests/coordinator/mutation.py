"""Commands with one thing changed, anywhere in them: what a liar would try."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import IntEnum
from typing import Any

from hypothesis import strategies as st

from psyche_p2p.ids import BatchInterval
from tests.coordinator.world import identity

_HUGE = 2**63 - 1


def mutate(draw: Any, value: Any) -> Any:
    """The value with one part of it changed."""
    if isinstance(value, BatchInterval):
        return BatchInterval(value.start, value.end + 1)
    if is_dataclass(value):
        name = draw(st.sampled_from([field.name for field in fields(value)]))
        return replace(value, **{name: mutate(draw, getattr(value, name))})  # type: ignore[type-var]
    if isinstance(value, tuple):
        return _mutate_tuple(draw, value)
    if isinstance(value, IntEnum):
        return draw(st.sampled_from(list(type(value))))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw(st.sampled_from([0, 1, max(0, value - 1), value + 1, 2**31, _HUGE]))
    if isinstance(value, bytes):
        return _mutate_bytes(draw, value)
    if isinstance(value, str):
        return identity(draw(st.integers(1, 9))).peer_id
    return value


def _mutate_tuple(draw: Any, value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        return value
    index = draw(st.integers(0, len(value) - 1))
    before, one, after = value[:index], value[index], value[index + 1 :]
    match draw(st.sampled_from(["drop", "double", "reverse", "change"])):
        case "drop":
            return (*before, *after)
        case "double":
            return (*before, one, one, *after)
        case "reverse":
            return value[::-1]
        case _:
            return (*before, mutate(draw, one), *after)


def _mutate_bytes(draw: Any, value: bytes) -> bytes:
    if not value:
        return b"\0"
    index = draw(st.integers(0, len(value) - 1))
    flipped = value[index] ^ 1 << draw(st.integers(0, 7))
    return value[:index] + bytes([flipped]) + value[index + 1 :]
