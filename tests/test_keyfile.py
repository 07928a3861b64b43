"""Key files: only our own, whole, and closed to others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.errors import IdentityError, StorageError
from psyche_p2p.identity import Identity
from psyche_p2p.keyfile import decode_key, encode_key, load_key, save_key

ALICE = Identity.from_seed(b"a" * 32)


def test_a_saved_key_loads_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    save_key(ALICE, path)
    assert load_key(path) == ALICE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_is_libp2ps() -> None:
    """The Ed25519 example of https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md."""
    data = bytes.fromhex(
        "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
        "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    )
    assert encode_key(decode_key(data, "example")) == data


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    save_key(ALICE, path)
    with pytest.raises(StorageError, match="File exists"):
        save_key(Identity.generate(), path)
    assert load_key(path) == ALICE


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="does not exist; make one with: psyche-peer keys new"):
        load_key(tmp_path / "none")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_file_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "peer.key"
    save_key(ALICE, path)
    path.chmod(mode)
    with pytest.raises(IdentityError, match=r"can be read by others .* chmod 600"):
        load_key(path)


def test_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(IdentityError, match="not a regular file"):
            load_key(path)


@given(st.integers(0, 67))
def test_a_truncated_key_is_refused(length: int) -> None:
    with pytest.raises(IdentityError, match="cut short"):
        decode_key(encode_key(ALICE)[:length], "key")


@given(st.integers(0, 68 * 8 - 1))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    data = bytearray(encode_key(ALICE))
    data[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(IdentityError):
        decode_key(bytes(data), "key")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(IdentityError):
        decode_key(data, "key")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes.fromhex("080012") + b"x" * 100, "holds an RSA key"),
        (bytes.fromhex("08021220") + b"x" * 32, "holds a Secp256k1 key"),
        (bytes.fromhex("08031220") + b"x" * 32, "holds an ECDSA key"),
        (bytes.fromhex("08011220") + b"x" * 32, "py-libp2p's short form"),
        (b"-----BEGIN PRIVATE KEY-----\n" + b"x" * 60, "not a libp2p Ed25519 key file"),
        (encode_key(ALICE) + b"x", "not a libp2p Ed25519 key file"),
    ],
)
def test_foreign_keys_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        decode_key(data, "key")
