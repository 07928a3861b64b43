"""A folder of prepared tokens: its files, its manifest, what it was made of, which of it is bad.

shard-00000.bin ...      token ids, little-endian, one after the other
shard-00000.bin.blocks   the hashes of the shard's 64 KiB blocks
manifest.txt             the manifest that peers agree on
about.json               how many tokens of which tokenizer, for people and for --check
tokenizer.json           a copy of the tokenizer, if there was one
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from psyche_p2p.data.blocks import BLOCK_BYTES, SUFFIX, count_blocks, digest_of_blocks, is_block
from psyche_p2p.data.manifest import Manifest, ManifestEntry, decode_manifest, encode_manifest
from psyche_p2p.data.token_file import Progress
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.hashing import DIGEST_BYTES

MANIFEST = "manifest.txt"
ABOUT = "about.json"
TOKENIZER = "tokenizer.json"
MAX_MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class About:
    """What a folder of tokens was made of."""

    tokens: int
    documents: int
    text_bytes: int
    token_bytes: int
    vocab_size: int
    highest_token: int
    separator: str
    encoder: str
    fingerprint: str


def write_corpus(folder: Path, manifest: Manifest, about: About) -> None:
    """Say what the folder's shards are; the manifest last, because it says that all is there."""
    write_atomically(folder / ABOUT, (json.dumps(asdict(about), indent=1) + "\n").encode())
    write_atomically(folder / MANIFEST, encode_manifest(manifest))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of tokens."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES)
    except FileNotFoundError as error:
        cause = f"{str(folder)!r} has no {MANIFEST}"
        raise DataError(cause, "make the folder with psyche-peer data prepare") from error
    except OSError as error:
        raise storage_error("cannot read", path, error) from error
    return decode_manifest(data, repr(str(path)))


def read_about(folder: Path) -> About:
    """What the folder says it was made of."""
    path = folder / ABOUT
    try:
        return About(**json.loads(path.read_bytes()))
    except OSError as error:
        raise storage_error("cannot read", path, error) from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{str(path)!r} is damaged", "prepare the data again") from error


def find_bad_shards(folder: Path, manifest: Manifest, on_progress: Progress) -> Iterator[str]:
    """One line for every shard that is not what the manifest says: which, where, how."""
    for entry in manifest.entries:
        problem = _problem_of(folder / entry.name, entry, on_progress)
        if problem:
            yield f"{entry.name} {problem}"


def _problem_of(path: Path, entry: ManifestEntry, on_progress: Progress) -> str:
    hashes_path = path.with_name(path.name + SUFFIX)
    try:
        size_bytes = path.stat().st_size
        hashes = hashes_path.read_bytes() if hashes_path.exists() else b""
        if size_bytes != entry.size_bytes:
            return f"has {size_bytes} bytes, the manifest says {entry.size_bytes}"
        if not are_hashes_of(hashes, entry):
            return f"has no hashes that are the manifest's: {hashes_path.name} is missing or bad"
        bad = list(_bad_blocks(path, hashes, on_progress))
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        raise storage_error("cannot read", path, error) from error
    if not bad:
        return ""
    where = f"from byte {bad[0] * BLOCK_BYTES}"
    return f"is damaged: {len(bad)} of {count_blocks(size_bytes)} blocks, the first {where}"


def are_hashes_of(hashes: bytes, entry: ManifestEntry) -> bool:
    """Whether a list of block hashes is the one that the manifest names."""
    expected_bytes = count_blocks(entry.size_bytes) * DIGEST_BYTES
    return len(hashes) == expected_bytes and digest_of_blocks(hashes) == entry.digest


def _bad_blocks(path: Path, hashes: bytes, on_progress: Progress) -> Iterator[int]:
    with path.open("rb") as file:
        for number in range(len(hashes) // DIGEST_BYTES):
            data = file.read(BLOCK_BYTES)
            on_progress(len(data))
            if not is_block(hashes, number, data):
                yield number
