"""What a corpus is made of, and one hash over all of it that peers compare before they train."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from psyche_p2p.errors import DataError
from psyche_p2p.hashing import hash_bytes, hash_parts

_MANIFEST_CURE = "make it with: psyche-peer data manifest"


@dataclass(frozen=True, slots=True, order=True)
class ManifestEntry:
    """One file of a corpus."""

    name: str
    size_bytes: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a corpus, in the order in which their tokens follow each other."""

    encoding: str
    entries: tuple[ManifestEntry, ...]

    @property
    def digest(self) -> bytes:
        """The hash that `data.manifest` of a run configuration names."""
        parts = [
            part
            for entry in self.entries
            for part in (entry.name.encode(), str(entry.size_bytes).encode(), entry.digest)
        ]
        return hash_parts("data manifest", self.encoding.encode(), *parts)

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)


def make_manifest(encoding: str, files: Iterable[tuple[str, bytes]]) -> Manifest:
    """The manifest of files given as names and contents."""
    entries = (ManifestEntry(name, len(data), hash_bytes(data)) for name, data in files)
    return Manifest(encoding, tuple(entries))


def describe_difference(ours: Manifest, theirs: Manifest) -> str:
    """The first thing in which two manifests differ, in one line; empty if they are the same."""
    if ours.encoding != theirs.encoding:
        return f"our data is {ours.encoding}, theirs {theirs.encoding}"
    own = {entry.name: entry for entry in ours.entries}
    other = {entry.name: entry for entry in theirs.entries}
    for name in sorted(own.keys() | other.keys(), key=str.encode):
        if name not in own:
            return f"{name} is missing here"
        if name not in other:
            return f"{name} is here but not there"
        if own[name] != other[name]:
            return f"{name} differs: {_summary(own[name])} here, {_summary(other[name])} there"
    return "" if ours == theirs else "the files are the same in another order"


def encode_manifest(manifest: Manifest) -> bytes:
    """JSON, one line a file, for people to compare and for peers to hand over."""
    lines = [
        json.dumps([entry.name, entry.size_bytes, entry.digest.hex()]) for entry in manifest.entries
    ]
    head = json.dumps({"encoding": manifest.encoding, "digest": manifest.digest.hex()})
    return "\n".join([head, *lines, ""]).encode()


def decode_manifest(data: bytes, source: str) -> Manifest:
    """A manifest from outside; a DataError naming `source` for anything else."""
    try:
        head, *lines = [json.loads(line) for line in data.decode().splitlines()]
        entries = tuple(
            ManifestEntry(_text(name), _size(size), bytes.fromhex(digest))
            for name, size, digest in lines
        )
        manifest = Manifest(_text(head["encoding"]), entries)
        is_whole = head["digest"] == manifest.digest.hex()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{source} is not a data manifest", _MANIFEST_CURE) from error
    if not is_whole:
        raise DataError(f"{source} is damaged: its files do not have its hash", _MANIFEST_CURE)
    return manifest


def require_manifest(manifest: Manifest, expected: str, cure: str) -> None:
    """DataError unless the manifest's hash is `expected` (hexadecimal; empty allows all)."""
    found = manifest.digest.hex()
    if expected and found != expected:
        raise DataError(f"the data's manifest is {found}, the run's is {expected}", cure)


def _summary(entry: ManifestEntry) -> str:
    return f"{entry.size_bytes} bytes of hash {entry.digest.hex()[:10]}"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError("not a line of text")
    return value


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("not a size")
    return value
