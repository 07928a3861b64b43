"""Random damage: nothing raises, nothing damaged is accepted, memory stays in proportion."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.blobs import read_layout, read_teacher_targets, read_update, validate_blob
from psyche_p2p.codec import Payload, TopLogits, encode_coefficients, encode_top_logits
from psyche_p2p.wire import BlobHeader, CodecParameters, Section, TensorEntry, encode, encode_frame
from tests.blobs.builders import (
    VOCAB_SIZE,
    expect,
    make_compact_targets,
    make_large,
    make_update,
)
from tests.blobs.test_validate import ANYTHING, MAKERS, names, resealed


@given(st.data())
def test_no_change_of_a_few_bytes_is_accepted(data: st.DataObject) -> None:
    sealed = data.draw(st.sampled_from(list(MAKERS.values())))()
    blob = bytearray(sealed.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    if blob != sealed.to_bytes() and not validate_blob(blob, expect(sealed)):
        # the loss is the trainer's own word, which only the blob's hash holds it to
        view = read_layout(blob)
        assert replace(view.header, loss=sealed.header.loss) == sealed.header
        assert bytes(view.payload) == b"".join(sealed.pieces[1:])


@given(st.data())
def test_no_part_of_a_blob_is_accepted(data: st.DataObject) -> None:
    sealed = data.draw(st.sampled_from(list(MAKERS.values())))()
    blob = sealed.to_bytes()
    cut = data.draw(st.integers(0, len(blob) - 1))
    assert validate_blob(blob[:cut], expect(sealed)) != []
    assert validate_blob(blob[cut:] if cut else b"", expect(sealed)) != []
    assert validate_blob(blob + blob[: cut + 1], expect(sealed)) != []


@given(st.data())
def test_sections_of_any_bytes_raise_nothing(data: st.DataObject) -> None:
    """The hashes are made to fit, so that the bytes reach the decoders."""
    payload = data.draw(st.sampled_from(list(Payload)))
    sealed = make_update(payload=payload)
    parts = dict(zip(names(sealed), map(bytes, sealed.pieces[1:]), strict=True))
    name = data.draw(st.sampled_from(sorted(parts)))
    changed = bytearray(parts[name])
    begin = data.draw(st.integers(0, len(changed)))
    end = data.draw(st.integers(begin, min(begin + 8, len(changed))))
    changed[begin:end] = data.draw(st.binary(max_size=8))
    blob = resealed(sealed, {name: bytes(changed)})
    expected = replace(expect(sealed), payload_hash=None)
    if not validate_blob(blob, expected):
        # another update, but a canonical one: its bytes are the only ones it has
        update = read_update(read_layout(blob))
        again = encode_coefficients(update.grid, update.coefficients)
        assert b"".join(again.values()) == bytes(read_layout(blob).payload)


@given(st.data())
def test_sections_of_compact_targets_of_any_bytes_raise_nothing(data: st.DataObject) -> None:
    sealed = make_compact_targets()
    parts = dict(zip(names(sealed), map(bytes, sealed.pieces[1:]), strict=True))
    name = data.draw(st.sampled_from(sorted(parts)))
    changed = bytearray(parts[name])
    begin = data.draw(st.integers(0, len(changed)))
    end = data.draw(st.integers(begin, min(begin + 8, len(changed))))
    changed[begin:end] = data.draw(st.binary(max_size=8))
    blob = resealed(sealed, {name: bytes(changed)})
    if not validate_blob(blob, replace(expect(sealed), payload_hash=None)):
        top = read_teacher_targets(read_layout(blob))
        flat = TopLogits(
            top.indices.reshape(-1, 5), top.logits.reshape(-1, 5), top.logsumexp.reshape(-1)
        )
        again = encode_top_logits(flat, VOCAB_SIZE)
        assert b"".join(again.values()) == bytes(read_layout(blob).payload)


texts = st.text(max_size=8)
counts = st.one_of(st.integers(0, 5), st.integers(0, 2**63 - 1))
small_counts = st.one_of(st.integers(0, 70), st.integers(0, 2**32 - 1))
entries = st.builds(
    TensorEntry,
    texts,
    st.lists(counts, max_size=4).map(tuple),
    st.sampled_from(["float32", "uint16", "float16", "object"]),
    small_counts,
    small_counts,
)
headers = st.builds(
    replace,
    st.sampled_from([make().header for make in MAKERS.values()]),
    tensors=st.lists(entries, max_size=4).map(tuple),
    sections=st.lists(
        st.builds(Section, st.sampled_from(["live", "low", "unary", "signs", "w"]), counts),
        max_size=5,
    ).map(tuple),
    codec=st.none()
    | st.builds(
        CodecParameters,
        st.sampled_from(["dct", "none", "top_k"]),
        st.sampled_from(["signs", "scaled_signs", "values", "compact"]),
        small_counts,
        small_counts,
    ),
    loss=st.floats(allow_nan=False, allow_infinity=False),
)


@given(headers, st.binary(max_size=64), st.booleans())
def test_any_header_before_any_bytes_raises_nothing(
    header: BlobHeader, payload: bytes, fitting: bool
) -> None:
    if fitting and header.sections:
        *rest, last = (Section(section.name, 0) for section in header.sections)
        header = replace(header, sections=(*rest, Section(last.name, len(payload))))
    try:
        encoded = encode(header)
    except ValueError:
        return  # text that may not be sent
    validate_blob(encode_frame(encoded) + payload, ANYTHING)


@given(st.binary(max_size=300))
def test_any_bytes_raise_nothing(data: bytes) -> None:
    assert validate_blob(data, ANYTHING) != []


def test_checking_a_large_blob_takes_little_memory() -> None:
    data = make_large(12 << 20).to_bytes()
    tracemalloc.start()
    assert validate_blob(data, ANYTHING) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_most_a_small_blob_can_claim_stays_in_bounds(tmp_path: Path) -> None:
    """A megabyte that says "eight million chunks, all dead", under a limit on the whole process."""
    chunks = 8_000_000
    prefix = np.array([chunks, 0], "<u4").tobytes()
    live = prefix + np.packbits(np.ones(chunks, np.uint8), bitorder="little").tobytes()
    path = tmp_path / "blob"
    path.write_bytes(
        resealed(
            make_update(),
            {"live": live, "low": b"", "unary": b"", "signs": b""},
            tensors=(TensorEntry("w", (chunks,), "float32", 1, 1),),
            codec=CodecParameters("dct", "signs", 16, 1),
        )
    )
    assert validate_in_child(path, 640 << 20) == "[]"


def test_a_blob_of_the_largest_size_is_checked_in_a_small_process(tmp_path: Path) -> None:
    """The file is mapped, so that its size counts as well; beyond it next to nothing is used."""
    size = 96 << 20
    sealed, path = make_large(size), tmp_path / "blob"
    path.write_bytes(sealed.to_bytes())
    assert validate_in_child(path, size + (16 << 20)) == "[]"


def validate_in_child(path: Path, extra_bytes: int) -> str:
    """What `validate_blob` finds in a process that may grow by so much and no more."""
    script = f"""
import mmap, resource
from pathlib import Path
from psyche_p2p.blobs import Expectation, validate_blob
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + {extra_bytes}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with open({str(path)!r}, "rb") as file:
    data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
print(validate_blob(data, Expectation.of_anything(1 << 30)))
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return result.stdout.strip() or result.stderr
