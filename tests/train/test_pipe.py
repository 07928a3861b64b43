"""The typed pipe: what is sent arrives, and nothing else is taken for a message."""

from __future__ import annotations

import io
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.distill.stats import DistillationStats
from psyche_p2p.train import messages
from psyche_p2p.train.pipe import MessagePipe, PipeError, decode_message, encode_message

TYPES = get_args(messages.Command) + get_args(messages.Event)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def any_message_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    special: dict[Any, st.SearchStrategy[Any]] = {
        float: FLOATS,
        tuple[float, ...]: st.lists(FLOATS).map(tuple),
        DistillationStats | None: st.none() | st.builds(DistillationStats, *[FLOATS] * 8),
    }
    values = {name: special.get(hint, st.from_type(hint)) for name, hint in hints.items()}
    return st.builds(kind, **values)


@given(st.sampled_from(TYPES).flatmap(any_message_of))
def test_what_is_sent_arrives(message: Any) -> None:
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=200))
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(PipeError, match="not a message"):
        decode_message(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "Save"}',
        b'{"type": "Save", "folder": 3}',
        b'{"type": "Save", "folder": "x", "more": 1}',
        b'{"type": "Nonsense"}',
        b'{"type": ["Save"]}',
        b"[]",
    ],
)
def test_wrong_fields_are_refused(line: bytes) -> None:
    with pytest.raises(PipeError):
        decode_message(line)


def test_a_closed_pipe_is_none() -> None:
    pipe = MessagePipe(io.BytesIO(encode_message(messages.Save("x"))), io.BytesIO())
    assert pipe.receive() == messages.Save("x")
    assert pipe.receive() is None


def test_a_number_that_is_none_is_not_sent() -> None:
    with pytest.raises(PipeError, match="holds a number that is none"):
        encode_message(messages.Applied(0, (), float("nan")))


def test_only_messages_are_sent() -> None:
    with pytest.raises(PipeError, match="str is not a message"):
        encode_message("hello")
