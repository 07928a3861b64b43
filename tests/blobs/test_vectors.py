"""The golden blobs stay put, and each is what it says it is."""

from __future__ import annotations

import json

import pytest

from psyche_p2p.blobs import Expectation, validate_blob
from psyche_p2p.blobs.manifest import decode_manifest
from psyche_p2p.ids import BlobHash
from tests.blobs.generate_vectors import FILE, vectors

STORED = json.loads(FILE.read_text())


@pytest.mark.parametrize("part", sorted(STORED))
def test_this_implementation_gives_the_stored_vectors(part: str) -> None:
    assert vectors()[part] == STORED[part]


@pytest.mark.parametrize("entry", STORED["blobs"], ids=lambda entry: entry["name"])
def test_a_stored_blob_is_valid_and_has_its_hash(entry: dict[str, str]) -> None:
    data = bytes.fromhex(entry["bytes"])
    assert validate_blob(data, Expectation.of_anything(1 << 20)) == []
    blob_hash = BlobHash(bytes.fromhex(entry["blob_hash"]))
    manifest = decode_manifest(bytes.fromhex(entry["manifest"]), blob_hash, 1 << 20)
    assert manifest.size_bytes == len(data)
