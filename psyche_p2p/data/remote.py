"""`data.provider = "http"`: tokens that stay on web servers until a sample needs them.

The folder given as --data-dir looks like the one that `data prepare` made: files of the right
sizes, holes where nothing was fetched yet. No list of what is there is kept, because the hashes say
it: a block is read from the folder, and fetched if it is not the right one. So a folder survives
anything, can be shared by processes, and can be filled by copying.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from psyche_p2p.data.blocks import BLOCK_BYTES, SUFFIX, count_blocks, is_block
from psyche_p2p.data.corpus import MANIFEST, MAX_MANIFEST_BYTES, are_hashes_of
from psyche_p2p.data.manifest import Manifest, ManifestEntry, decode_manifest, require_manifest
from psyche_p2p.data.mirrors import Mirrors
from psyche_p2p.data.token_file import (
    BIN_TYPES,
    Tokens,
    encoding_of,
    open_regular,
    require_in_vocabulary,
)
from psyche_p2p.data.tokens import JoinedTokens
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.hashing import DIGEST_BYTES

_AT_ONCE = 8


class RemoteFile:
    """One file of tokens, of which any number of blocks may be on this disk."""

    def __init__(
        self, path: Path, entry: ManifestEntry, mirrors: Mirrors, token_bytes: int, vocab_size: int
    ) -> None:
        self._path = path
        self._entry = entry
        self._mirrors = mirrors
        self._vocab_size = vocab_size
        self._mapped = _map(path, entry)
        self._hashes = b""
        self._lock = threading.Lock()
        self._is_good = bytearray(count_blocks(entry.size_bytes))
        self.tokens: Tokens = np.frombuffer(self._mapped, dtype=BIN_TYPES[token_bytes])

    def missing(self, start: int, stop: int) -> Iterator[int]:
        """The blocks of tokens `start` to `stop` that this process has not seen to be right."""
        width = self.tokens.itemsize
        for number in range(start * width // BLOCK_BYTES, count_blocks(stop * width)):
            if not self._is_good[number]:
                yield number

    def require(self, number: int) -> None:
        """Have a block in the file, right in every bit and every token in the vocabulary."""
        hashes = self._require_hashes()
        start = number * BLOCK_BYTES
        size = min(BLOCK_BYTES, self._entry.size_bytes - start)
        if not is_block(hashes, number, self._mapped[start : start + size]):

            def check(data: bytes) -> str:
                return "" if is_block(hashes, number, data) else "its bytes have another hash"

            name = self._entry.name
            data = self._mirrors.get_range(name, start, size, self._entry.size_bytes, check)
            self._write(start, data)
        first = start // self.tokens.itemsize
        tokens = self.tokens[first : first + size // self.tokens.itemsize]
        require_in_vocabulary(self._entry.name, tokens, first, self._vocab_size)
        self._is_good[number] = 1

    def _require_hashes(self) -> bytes:
        with self._lock:
            if not self._hashes:
                self._hashes = self._stored_hashes() or self._fetch_hashes()
            return self._hashes

    def _stored_hashes(self) -> bytes:
        path = self._path.with_name(self._path.name + SUFFIX)
        try:
            hashes = path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise storage_error("cannot read", path, error) from error
        return hashes if are_hashes_of(hashes, self._entry) else b""

    def _fetch_hashes(self) -> bytes:
        def check(data: bytes) -> str:
            return "" if are_hashes_of(data, self._entry) else "its hashes are not the manifest's"

        size = count_blocks(self._entry.size_bytes) * DIGEST_BYTES
        name = self._entry.name + SUFFIX
        hashes = self._mirrors.get_file(name, size, check)
        write_atomically(self._path.with_name(self._path.name + SUFFIX), hashes)
        return hashes

    def _write(self, start: int, data: bytes) -> None:
        try:
            with self._path.open("r+b") as file:
                os.pwrite(file.fileno(), data, start)
        except OSError as error:
            raise storage_error("cannot keep what was fetched in", self._path, error) from error


class RemoteTokens:
    """The tokens of all files as one sequence; what is missing is fetched when it is read."""

    def __init__(self, files: Sequence[RemoteFile]) -> None:
        self._files = files
        self._joined = JoinedTokens([file.tokens for file in files])
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")

    def __len__(self) -> int:
        return len(self._joined)

    def __getitem__(self, span: slice) -> Tokens:
        self.fetch([span])
        return self._joined[span]

    def fetch(self, spans: Sequence[slice]) -> None:
        """Have all of these spans on this disk, several blocks at a time."""
        wanted = {(part, number) for span in spans for part, number in self._missing(span)}
        for _ in self._pool.map(lambda one: self._files[one[0]].require(one[1]), sorted(wanted)):
            pass

    def _missing(self, span: slice) -> Iterator[tuple[int, int]]:
        start, stop, _ = span.indices(len(self))
        for part, begin, end in self._joined.places(start, stop):
            for number in self._files[part].missing(begin, end):
                yield part, number


def open_remote_tokens(
    folder: Path, mirrors: Mirrors, pinned: str, token_bytes: int, vocab_size: int
) -> tuple[Manifest, RemoteTokens]:
    """The manifest that `pinned` names (empty: the first mirror's) and its tokens, none fetched."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("cannot create", folder, error) from error
    manifest = _stored_manifest(folder, pinned) or _fetch_manifest(folder, mirrors, pinned)
    _require_token_files(manifest, token_bytes)
    files = [
        RemoteFile(folder / entry.name, entry, mirrors, token_bytes, vocab_size)
        for entry in manifest.entries
    ]
    return manifest, RemoteTokens(files)


def _stored_manifest(folder: Path, pinned: str) -> Manifest | None:
    if not pinned:
        return None
    try:
        manifest = decode_manifest((folder / MANIFEST).read_bytes(), MANIFEST)
    except (OSError, DataError):  # not there, or not whole: it is fetched
        return None
    return manifest if manifest.digest.hex() == pinned else None


def _fetch_manifest(folder: Path, mirrors: Mirrors, pinned: str) -> Manifest:
    def check(data: bytes) -> str:
        try:
            require_manifest(decode_manifest(data, MANIFEST), pinned, "")
        except DataError as error:
            return error.cause
        return ""

    data = mirrors.get_file(MANIFEST, MAX_MANIFEST_BYTES, check)
    write_atomically(folder / MANIFEST, data)
    return decode_manifest(data, MANIFEST)


def _require_token_files(manifest: Manifest, token_bytes: int) -> None:
    """The names become paths here, so they must stay below the folder."""
    expected = encoding_of(token_bytes)
    if manifest.encoding != expected:
        cause = f"the mirrors' data is {manifest.encoding}, the run's is {expected}"
        raise DataError(cause, "correct data.token_bytes")
    if not manifest.entries:
        raise DataError("the mirrors' manifest names no files", "prepare the data again")
    for entry in manifest.entries:
        path = PurePosixPath(entry.name)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".bin":
            cause = f"the mirrors' manifest names {entry.name!r}, which is no .bin file of theirs"
            raise DataError(cause, "ask whoever made the run for the right manifest")
        if entry.size_bytes == 0 or entry.size_bytes % token_bytes:
            cause = f"{entry.name} has {entry.size_bytes} bytes, not a multiple of {token_bytes}"
            raise DataError(cause, "ask whoever made the run for the right manifest")


def _map(path: Path, entry: ManifestEntry) -> memoryview:
    """The file, made as one large hole if it is not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if file.tell() < entry.size_bytes:
                file.truncate(entry.size_bytes)
        descriptor = open_regular(path)
        try:
            size_bytes = os.fstat(descriptor).st_size
            mapped = mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error("cannot keep fetched data in", path, error) from error
    if size_bytes != entry.size_bytes:
        cause = f"{str(path)!r} has {size_bytes} bytes, the manifest says {entry.size_bytes}"
        raise DataError(cause, "move it away, or choose another --data-dir")
    return memoryview(mapped)
