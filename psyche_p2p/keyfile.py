"""The key file: libp2p's protobuf form of an Ed25519 private key, for this user's eyes only.

The 68 bytes are `PrivateKey{Type: Ed25519, Data: seed || public key}`, as libp2p's peer-id
specification has it and the go daemon wants it. py-libp2p 0.8 parses the same protobuf but makes
its key from the seed alone, and writes a shorter file (36 bytes) that the daemon refuses; hand it
the first 32 bytes of Data (docs/design.md, "Identity").
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from psyche_p2p.errors import IdentityError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.identity import SEED_BYTES, Identity

KEY_FILE_BYTES = 68
_ED25519_PREFIX = bytes.fromhex("08011240")
_NEW_KEY = "make one with: psyche-peer keys new --out FILE"
_SHORT_FORM_PREFIX = bytes.fromhex("08011220")
_OTHER_KEY_TYPES = {0: "an RSA", 2: "a Secp256k1", 3: "an ECDSA"}


def encode_key(identity: Identity) -> bytes:
    """The bytes of a key file."""
    return _ED25519_PREFIX + identity.seed + identity.public_key


def decode_key(data: bytes, source: str) -> Identity:
    """The identity in a key file's bytes; an IdentityError naming `source` for anything else."""
    if len(data) > 1 and data[0] == 0x08 and data[1] in _OTHER_KEY_TYPES:
        kind = _OTHER_KEY_TYPES[data[1]]
        raise IdentityError(f"{source} holds {kind} key, an Ed25519 key is needed", _NEW_KEY)
    if data.startswith(_SHORT_FORM_PREFIX):
        raise IdentityError(f"{source} has py-libp2p's short form, not the whole key", _NEW_KEY)
    if len(data) < KEY_FILE_BYTES and _ED25519_PREFIX.startswith(data[: len(_ED25519_PREFIX)]):
        cause = f"{source} is cut short: {len(data)} of {KEY_FILE_BYTES} bytes"
        raise IdentityError(cause, f"restore it from a backup, or {_NEW_KEY}")
    if len(data) != KEY_FILE_BYTES or not data.startswith(_ED25519_PREFIX):
        raise IdentityError(f"{source} is not a libp2p Ed25519 key file", _NEW_KEY)
    identity = Identity.from_seed(data[len(_ED25519_PREFIX) :][:SEED_BYTES])
    if data != encode_key(identity):
        cause = f"{source} is damaged: its two halves belong to different keys"
        raise IdentityError(cause, f"restore it from a backup, or {_NEW_KEY}")
    return identity


def save_key(identity: Identity, path: Path) -> None:
    """Write a new key file (mode 0600); an existing file is never overwritten."""
    write_atomically(path, encode_key(identity), mode=0o600, replace=False)


def load_key(path: Path) -> Identity:
    """Read a key file that nobody else can read."""
    source = f"key file {str(path)!r}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise IdentityError(f"{source} does not exist", _NEW_KEY) from error
    except (OSError, ValueError) as error:
        raise storage_error("cannot read key file", path, error) from error
    try:
        _require_private(os.fstat(descriptor), path, source)
        return decode_key(os.read(descriptor, KEY_FILE_BYTES + 1), source)
    finally:
        os.close(descriptor)


def _require_private(status: os.stat_result, path: Path, source: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise IdentityError(f"{source} is not a regular file", _NEW_KEY)
    if status.st_uid not in (os.geteuid(), 0):
        raise IdentityError(f"{source} belongs to another user", "take it over with chown, or copy")
    if stat.S_IMODE(status.st_mode) & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        cause = f"{source} can be read by others (mode {mode:04o})"
        raise IdentityError(cause, f"close it with: chmod 600 {path}")
