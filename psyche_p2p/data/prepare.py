"""Text to shards of tokens: the same files on every machine, and after any number of interruptions.

What is done is noted every two seconds: how far the input was read, how far the output was written.
Whoever starts again goes on from there. The note is written after the tokens are on disk, so a
crash at any moment loses at most what came after it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from psyche_p2p.clock import Clock, SystemClock
from psyche_p2p.data.corpus import (
    ABOUT,
    MANIFEST,
    TOKENIZER,
    About,
    find_bad_shards,
    read_about,
    read_manifest,
    write_corpus,
)
from psyche_p2p.data.documents import Cursor, Piece, Source, read_pieces
from psyche_p2p.data.encoder import Encoder
from psyche_p2p.data.manifest import Manifest, ManifestEntry
from psyche_p2p.data.shard_writer import ShardWriter
from psyche_p2p.data.token_file import encoding_of
from psyche_p2p.errors import DataError, StorageError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.hashing import hash_parts

DEFAULT_SHARD_BYTES = 128 << 20
NOTE = "prepare.json"
_SAVE_EVERY_S = 2.0
_BATCH_BYTES = 4 << 20
_START_OVER = "choose another --out, or start over with --again"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make of what."""

    sources: list[Source]
    field: str
    encoder: Encoder
    shard_bytes: int = DEFAULT_SHARD_BYTES

    @property
    def token_bytes(self) -> int:
        return 2 if self.encoder.vocab_size <= 1 << 16 else 4

    @property
    def size_bytes(self) -> int:
        return sum(source.size_bytes for source in self.sources)

    @property
    def fingerprint(self) -> str:
        """Changes with anything that could change the tokens or where they are."""
        files = (f"{s.path.name}/{s.size_bytes}/{s.modified_ns}".encode() for s in self.sources)
        settings = (self.encoder.digest, self.field.encode(), str(self.shard_bytes).encode())
        return hash_parts("data preparation", *settings, *files).hex()


@dataclass(slots=True)
class Note:
    """How far preparing has come; everything before the cursor is in the shards."""

    fingerprint: str
    cursor: Cursor = Cursor(0, 0)  # noqa: RUF009 -- a tuple, which cannot change
    part_bytes: int = 0
    tokens: int = 0
    documents: int = 0
    text_bytes: int = 0
    highest_token: int = 0
    shards: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Pieces that are encoded together, and where the next batch begins."""

    pieces: list[Piece]
    tokens: npt.NDArray[np.uint32]
    after: Cursor


OnDone = Callable[[int], None]
"""Told how many bytes of the input are done, of `Plan.size_bytes`."""


def prepare(
    plan: Plan,
    folder: Path,
    *,
    again: bool = False,
    on_done: OnDone = lambda _: None,
    clock: Clock | None = None,
) -> Manifest:
    """Make the folder's tokens, or what is missing of them, and say what they are.

    With `again`, what an earlier run left there is removed first.
    """
    with _locked(folder):
        if again:
            _start_over(folder)
        if (folder / MANIFEST).exists():
            return _finished(plan, folder)
        note = _read_note(folder, plan.fingerprint)
        entries = [ManifestEntry(name, size, bytes.fromhex(d)) for name, size, d in note.shards]
        _require_intact(folder, Manifest("", tuple(entries)))
        writer = ShardWriter(folder, plan.shard_bytes, entries)
        try:
            writer.resume(note.part_bytes)
            _write_all(plan, folder, note, writer, on_done, clock or SystemClock())
            writer.finish_shard()
        finally:
            writer.close()
        return _finish(plan, folder, note, entries)


def _start_over(folder: Path) -> None:
    """Remove everything that preparing writes, the manifest first, and nothing else."""
    shards = ("shard-*.bin", "shard-*.bin.part", "shard-*.bin.blocks")
    patterns = (MANIFEST, NOTE, ABOUT, TOKENIZER, *shards)
    try:
        for path in [path for pattern in patterns for path in folder.glob(pattern)]:
            path.unlink()
    except OSError as error:
        raise storage_error("cannot empty", folder, error) from error


def _write_all(
    plan: Plan, folder: Path, note: Note, writer: ShardWriter, on_done: OnDone, clock: Clock
) -> None:
    before = [0]
    for source in plan.sources:
        before.append(before[-1] + source.size_bytes)
    dtype = np.dtype(f"<u{plan.token_bytes}")
    saved_s = clock.monotonic_s()
    on_done(before[note.cursor.input] + note.cursor.position)
    for batch in _encoded(plan, note.cursor):
        writer.write(batch.tokens.astype(dtype).tobytes())
        note.cursor = batch.after
        note.tokens += len(batch.tokens)
        note.documents += sum(piece.ends_document for piece in batch.pieces)
        note.text_bytes += sum(len(piece.data) for piece in batch.pieces)
        note.highest_token = max(note.highest_token, int(batch.tokens.max(initial=0)))
        end = before[min(note.cursor.input + 1, len(plan.sources))]
        on_done(min(before[note.cursor.input] + note.cursor.position, end))
        if clock.monotonic_s() - saved_s >= _SAVE_EVERY_S:
            _save(folder, note, writer)
            saved_s = clock.monotonic_s()


def _save(folder: Path, note: Note, writer: ShardWriter) -> None:
    writer.save()
    note.part_bytes = writer.part_bytes
    note.shards = [(one.name, one.size_bytes, one.digest.hex()) for one in writer.entries]
    write_atomically(folder / NOTE, json.dumps(asdict(note)).encode())


def _encoded(plan: Plan, start: Cursor) -> Iterator[_Batch]:
    """The batches in order; one is encoded while the one before it is written."""
    batches = _batches(plan, start)
    with ThreadPoolExecutor(1) as worker:
        ahead = worker.submit(next, batches, None)
        while (batch := ahead.result()) is not None:
            ahead = worker.submit(next, batches, None)
            yield batch


def _batches(plan: Plan, start: Cursor) -> Iterator[_Batch]:
    pieces: list[Piece] = []
    size_bytes = 0
    for piece in read_pieces(plan.sources, start, plan.field):
        pieces.append(piece)
        size_bytes += len(piece.data)
        if size_bytes >= _BATCH_BYTES and piece.after is not None:
            yield _Batch(pieces, _encode(plan, pieces, start), piece.after)
            pieces, size_bytes, start = [], 0, piece.after
    if pieces:
        yield _Batch(pieces, _encode(plan, pieces, start), Cursor(len(plan.sources), 0))


def _encode(plan: Plan, pieces: list[Piece], start: Cursor) -> npt.NDArray[np.uint32]:
    try:
        return plan.encoder.encode(pieces)
    except UnicodeDecodeError as error:
        raise DataError(_name_bad_text(plan, pieces, start), "convert it to UTF-8") from error


def _name_bad_text(plan: Plan, pieces: list[Piece], cursor: Cursor) -> str:
    for piece in pieces:
        try:
            piece.data.decode()
        except UnicodeDecodeError as error:
            name = plan.sources[cursor.input].path.name
            return f"{name} is not UTF-8: byte {error.start} after byte {cursor.position}"
        cursor = piece.after or cursor
    return "the text is not UTF-8"


def _finish(plan: Plan, folder: Path, note: Note, entries: list[ManifestEntry]) -> Manifest:
    if not entries:
        raise DataError("the input holds no text", "check the files, and --field")
    manifest = Manifest(encoding_of(plan.token_bytes), tuple(entries))
    about = About(
        tokens=note.tokens,
        documents=note.documents,
        text_bytes=note.text_bytes,
        token_bytes=plan.token_bytes,
        vocab_size=plan.encoder.vocab_size,
        highest_token=note.highest_token,
        separator=plan.encoder.separator,
        encoder=plan.encoder.digest.hex(),
        fingerprint=plan.fingerprint,
    )
    if plan.encoder.source:
        write_atomically(folder / TOKENIZER, plan.encoder.source)
    write_corpus(folder, manifest, about)
    (folder / NOTE).unlink(missing_ok=True)
    return manifest


def _finished(plan: Plan, folder: Path) -> Manifest:
    if read_about(folder).fingerprint != plan.fingerprint:
        raise DataError(f"{str(folder)!r} holds tokens of something else", _START_OVER)
    return read_manifest(folder)


def _read_note(folder: Path, fingerprint: str) -> Note:
    path = folder / NOTE
    try:
        values = json.loads(path.read_bytes())
        note = Note(**values)
        note.cursor = Cursor(*note.cursor)
        note.shards = [(str(name), int(size), str(digest)) for name, size, digest in note.shards]
    except FileNotFoundError:
        return Note(fingerprint)
    except OSError as error:
        raise storage_error("cannot read", path, error) from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{str(path)!r} is damaged", _START_OVER) from error
    if note.fingerprint != fingerprint:
        cause = f"{str(folder)!r} was begun with other files, or with another tokenizer or settings"
        raise DataError(cause, _START_OVER)
    return note


def _require_intact(folder: Path, manifest: Manifest) -> None:
    for line in find_bad_shards(folder, manifest, lambda _: None):
        raise DataError(line, "start over with --again")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go when it dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error("cannot create", folder, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        cause = f"another process is preparing {str(folder)!r}"
        raise StorageError(cause, "wait for it, or choose another --out") from error
    finally:
        os.close(descriptor)
