"""The golden vectors stay put: a change here is a change of the protocol."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.vectors.generate import FILE, vectors

STORED = json.loads(FILE.read_text())


@pytest.mark.parametrize("part", sorted(STORED))
def test_this_implementation_gives_the_stored_vectors(part: str) -> None:
    assert vectors()[part] == STORED[part]


def test_the_stored_signatures_hold_without_any_code_of_ours() -> None:
    keys = {
        entry["seed"]: Ed25519PublicKey.from_public_bytes(bytes.fromhex(entry["public_key"]))
        for entry in STORED["ids"]
    }
    for entry in STORED["certificates"]:
        context = entry["context"].encode()
        signed = b"psyche-p2p/v1 " + bytes([len(context)]) + context
        signed += bytes.fromhex(entry["fingerprint"])
        keys[entry["seed"]].verify(bytes.fromhex(entry["signature"]), signed)
