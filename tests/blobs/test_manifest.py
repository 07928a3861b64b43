"""The chunk manifest: one hash for a blob, and every chunk checkable on its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.blobs import BlobError, compute_blob_hash, compute_manifest, decode_manifest
from psyche_p2p.blobs.manifest import CHUNK_BYTES, chunk_length, is_chunk, split_chunks
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash
from psyche_p2p.wire import ChunkManifest, encode

LIMIT = 1 << 30


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_chunks_cover_the_blob(size: int) -> None:
    data = bytes(size)
    manifest = compute_manifest([data])
    assert manifest.size_bytes == size
    chunks = list(split_chunks([data]))
    assert [len(chunk) for chunk in chunks] == [
        chunk_length(manifest, index) for index in range(len(manifest.chunks))
    ]
    assert all(is_chunk(manifest, index, chunk) for index, chunk in enumerate(chunks))


@given(st.lists(st.integers(0, CHUNK_BYTES + 3), max_size=5))
def test_how_a_blob_is_cut_into_pieces_does_not_matter(sizes: list[int]) -> None:
    pieces = [bytes([index % 251 + 1]) * size for index, size in enumerate(sizes)]
    assert b"".join(split_chunks(pieces)) == b"".join(pieces)
    assert compute_manifest(pieces) == compute_manifest([b"".join(pieces)])


def test_the_hash_is_that_of_the_encoded_manifest() -> None:
    manifest = compute_manifest([b"abc"])
    assert manifest == ChunkManifest(3, (BlobHash(hash_bytes(b"abc")),))
    # golden: uint64 size_bytes = 1; repeated bytes chunks = 2
    expected = bytes.fromhex("08031220") + hash_bytes(b"abc")
    assert compute_blob_hash(manifest) == hash_bytes(expected)


def test_a_manifest_is_believed_only_under_its_own_hash() -> None:
    manifest = compute_manifest([bytes(3 * CHUNK_BYTES)])
    encoded, blob_hash = encode(manifest), compute_blob_hash(manifest)
    assert decode_manifest(encoded, blob_hash, LIMIT) == manifest
    with pytest.raises(BlobError, match="not the manifest of blob"):
        decode_manifest(encoded, BlobHash(hash_bytes(b"another")), LIMIT)
    with pytest.raises(BlobError, match="1 to 1048576 are allowed"):
        decode_manifest(encoded, blob_hash, CHUNK_BYTES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size_bytes": 0}, "0 bytes"),
        ({"size_bytes": CHUNK_BYTES}, "2 chunks for 1048576 bytes, which are 1"),
        ({"size_bytes": 2**62}, "4611686018427387904 bytes"),
        ({"chunks": ()}, "0 chunks"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    change: dict[str, object], reason: str
) -> None:
    lie = replace(compute_manifest([bytes(CHUNK_BYTES + 1)]), **change)  # type: ignore[arg-type]
    encoded = encode(lie)
    with pytest.raises(BlobError, match=reason):
        decode_manifest(encoded, BlobHash(hash_bytes(encoded)), LIMIT)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_a_blob_error(data: bytes) -> None:
    try:
        manifest = decode_manifest(data, BlobHash(hash_bytes(data)), LIMIT)
    except BlobError:
        return
    assert encode(manifest) == data


def test_a_chunk_of_another_place_or_length_is_none() -> None:
    manifest = compute_manifest([bytes(CHUNK_BYTES) + b"tail"])
    assert is_chunk(manifest, 1, b"tail")
    assert not is_chunk(manifest, 1, b"tial")
    assert not is_chunk(manifest, 1, b"tail ")
    assert not is_chunk(manifest, 0, b"tail")
    with pytest.raises(BlobError, match="no chunk 2"):
        is_chunk(manifest, 2, b"tail")
    with pytest.raises(BlobError, match="no chunk -1"):
        is_chunk(manifest, -1, b"tail")
