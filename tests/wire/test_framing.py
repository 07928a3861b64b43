"""Frames: any cutting of the stream gives the same frames, and no length makes us allocate."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.errors import WireCode, WireError
from psyche_p2p.wire import FrameDecoder, encode_frame
from psyche_p2p.wire.varint import encode_varint

CAP = 1000


@given(st.lists(st.binary(max_size=CAP), max_size=6), st.lists(st.integers(0, 7000), max_size=8))
def test_frames_survive_any_cutting(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(payload) for payload in payloads)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    decoder, received = FrameDecoder(CAP), []
    for start, end in pairwise(edges):
        received += decoder.feed(stream[start:end])
    decoder.finish()
    assert received == payloads


@given(st.binary(max_size=300))
def test_random_bytes_give_frames_or_a_wire_error(data: bytes) -> None:
    decoder = FrameDecoder(CAP)
    try:
        frames = decoder.feed(data)
        decoder.finish()
    except WireError:
        return
    assert b"".join(encode_frame(frame) for frame in frames) == data


@pytest.mark.parametrize("size", [CAP + 1, 4 << 30, (1 << 63) - 1])
def test_a_giant_length_is_refused_at_once_and_allocates_nothing(size: int) -> None:
    decoder, prefix = FrameDecoder(CAP), encode_varint(size)
    tracemalloc.start()
    with pytest.raises(WireError) as caught:
        decoder.feed(prefix)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code is WireCode.TOO_LARGE
    assert peak < 100_000


def test_nothing_is_read_after_an_error() -> None:
    decoder = FrameDecoder(CAP)
    with pytest.raises(WireError):
        decoder.feed(encode_varint(CAP + 1))
    with pytest.raises(WireError, match="already failed"):
        decoder.feed(encode_frame(b"fine"))


def test_a_stream_that_ends_inside_a_frame_is_an_error() -> None:
    decoder = FrameDecoder(CAP)
    assert decoder.feed(encode_frame(b"hello")[:-1]) == []
    with pytest.raises(WireError, match="ends inside a frame"):
        decoder.finish()
