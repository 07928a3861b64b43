"""Manifests: which file differs, and bytes from others that are no manifest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.data.manifest import (
    Manifest,
    decode_manifest,
    describe_difference,
    encode_manifest,
    make_manifest,
)
from psyche_p2p.errors import DataError

OURS = make_manifest("uint16-le", [("a.bin", b"aa"), ("b.bin", b"bbbb")])


@pytest.mark.parametrize(
    ("theirs", "difference"),
    [
        (OURS, ""),
        (make_manifest("bytes", []), "our data is uint16-le, theirs bytes"),
        (make_manifest("uint16-le", [("a.bin", b"aa")]), "b.bin is here but not there"),
        (
            make_manifest("uint16-le", [("a.bin", b"aa"), ("b.bin", b"bbbb"), ("c.bin", b"")]),
            "c.bin is missing here",
        ),
        (
            make_manifest("uint16-le", [("a.bin", b"aa"), ("b.bin", b"bbbc")]),
            "b.bin differs: 4 bytes of hash ",
        ),
        (replace(OURS, entries=OURS.entries[::-1]), "the files are the same in another order"),
    ],
)
def test_the_first_difference_is_named(theirs: Manifest, difference: str) -> None:
    found = describe_difference(OURS, theirs)
    assert found.startswith(difference)
    assert bool(found) == bool(difference) == (OURS.digest != theirs.digest)


names = st.text(max_size=8).filter(str.isprintable)


@given(st.lists(st.tuples(names, st.binary(max_size=5)), max_size=4), names)
def test_what_is_written_down_can_be_read_again(
    files: list[tuple[str, bytes]], encoding: str
) -> None:
    manifest = make_manifest(encoding, files)
    assert decode_manifest(encode_manifest(manifest), "it") == manifest


@given(st.binary(max_size=60))
def test_random_bytes_are_no_manifest(data: bytes) -> None:
    with pytest.raises(DataError, match="it is not a data manifest"):
        decode_manifest(data, "it")


def test_a_name_that_would_break_the_line_is_no_name() -> None:
    written = encode_manifest(make_manifest("bytes", [("a\nb", b"")]))
    with pytest.raises(DataError, match="is not a data manifest"):
        decode_manifest(written, "it")


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    written = bytearray(encode_manifest(OURS))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 127))
    try:
        manifest = decode_manifest(bytes(written), "it")
    except DataError:
        return
    assert manifest == OURS  # a space or the case of a digit
