"""What a corpus is made of, and one hash over all of it that peers compare before they train."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psyche_p2p.errors import DataError
from psyche_p2p.hashing import hash_bytes, hash_parts


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


def require_manifest(manifest: Manifest, expected: str, cure: str) -> None:
    """DataError unless the manifest's hash is `expected` (hexadecimal; empty allows all)."""
    found = manifest.digest.hex()
    if expected and found != expected:
        raise DataError(f"the data's manifest is {found}, the run's is {expected}", cure)
