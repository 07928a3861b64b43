"""Text, JSON lines or parquet as pieces of text, from any place that an earlier run had reached.

A piece ends after a line's end where it can, and where it ends follows from the input alone, never
from when it was read: whoever prepares the same files gets the same pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from psyche_p2p.data.optional import require_library
from psyche_p2p.data.parquet_rows import parquet_errors
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error

PIECE_BYTES = 64 << 10
_MAX_PIECE_BYTES = 1 << 20
_MAX_LINE_BYTES = 1 << 30
_ROWS_AT_ONCE = 256
_JSON_SUFFIXES = (".jsonl", ".ndjson")
_TEXT_SUFFIXES = (".txt", ".text", ".md")
_PARQUET_SUFFIX = ".parquet"


class Cursor(NamedTuple):
    """Where reading goes on: an input, and a byte in it or a row of a parquet file."""

    input: int
    position: int


class Piece(NamedTuple):
    """Some UTF-8 text; `after` is where the next piece begins, or None inside a document that can
    only be read from its beginning."""

    data: bytes
    ends_document: bool
    after: Cursor | None


@dataclass(frozen=True, slots=True)
class Source:
    """One input file, and what it was when preparing began."""

    path: Path
    size_bytes: int
    modified_ns: int


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The files given, and those below the folders given in the order of their names' bytes."""
    sources: list[Source] = []
    for path in paths:
        try:
            found = _files_below(path) if path.is_dir() else [path]
            stats = [(file, file.stat()) for file in found]
        except (OSError, ValueError) as error:
            raise storage_error("cannot read", path, error) from error
        if not stats:
            endings = " ".join((*_TEXT_SUFFIXES, *_JSON_SUFFIXES, _PARQUET_SUFFIX))
            raise DataError(f"{str(path)!r} holds no text", f"files in a folder end in {endings}")
        sources += [Source(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return sources


def read_pieces(sources: Sequence[Source], start: Cursor, field: str) -> Iterator[Piece]:
    """All pieces from a cursor on; `field` is the JSON key or parquet column that holds text."""
    for number in range(start.input, len(sources)):
        position = start.position if number == start.input else 0
        path = sources[number].path
        try:
            if path.suffix == _PARQUET_SUFFIX:
                yield from _parquet_pieces(path, number, position, field)
                continue
            with path.open("rb") as file:
                file.seek(position)
                if path.suffix in _JSON_SUFFIXES:
                    yield from _json_pieces(file, path, number, field)
                else:
                    yield from _text_pieces(file, number)
        except (OSError, ValueError) as error:
            raise storage_error("cannot read", path, error) from error


def split_text(data: bytes) -> Iterator[bytes]:
    """A document in pieces of at least 64 KiB, cut after a line's end or a space where possible."""
    start = 0
    while len(data) - start > PIECE_BYTES:
        end = _cut(data, start)
        yield data[start:end]
        start = end
    yield data[start:]


def _files_below(folder: Path) -> list[Path]:
    endings = (*_TEXT_SUFFIXES, *_JSON_SUFFIXES, _PARQUET_SUFFIX)
    found = [path for path in folder.rglob("*") if path.suffix in endings and path.is_file()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix().encode())


def _text_pieces(file: BinaryIO, number: int) -> Iterator[Piece]:
    """A text file is one document."""
    position, data, start = file.tell(), b"", 0
    while more := file.read(_MAX_PIECE_BYTES):
        data, start = data[start:] + more, 0
        while len(data) - start > _MAX_PIECE_BYTES:
            end = _cut(data, start)
            position += end - start
            yield Piece(data[start:end], ends_document=False, after=Cursor(number, position))
            start = end
    yield from _document_pieces(data[start:], Cursor(number + 1, 0))


def _json_pieces(file: BinaryIO, path: Path, number: int, field: str) -> Iterator[Piece]:
    while line := file.readline(_MAX_LINE_BYTES):
        place = f"{path.name} before byte {file.tell()}"
        if line.strip():
            text = _json_text(line, place, field)
            yield from _document_pieces(text, Cursor(number, file.tell()))


def _json_text(line: bytes, place: str, field: str) -> bytes:
    try:
        record = json.loads(line)
        text = record[field].encode()
    except KeyError as error:
        cause = f"{place}: the record has no {field!r}, but {', '.join(map(repr, record))}"
        raise DataError(cause[:300], "say which key holds the text with --field") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not a line of JSON", "mend or remove the line") from error
    except (AttributeError, TypeError) as error:
        cause = f"{place}: {field!r} is not text"
        raise DataError(cause, "say which key holds the text with --field") from error
    return bytes(text)


def _parquet_pieces(path: Path, number: int, position: int, field: str) -> Iterator[Piece]:
    row = position
    for texts in _parquet_texts(path, position, field):
        for text in texts:
            row += 1
            if not isinstance(text, str):
                raise DataError(f"{path.name} row {row - 1}: no text", "remove the row")
            yield from _document_pieces(text.encode(), Cursor(number, row))


def _parquet_texts(path: Path, first_row: int, field: str) -> Iterator[list[Any]]:
    """The text of all rows from one on; row groups before it are not read."""
    with parquet_errors(path.name):
        parquet = require_library("pyarrow.parquet", "parquet")
        with parquet.ParquetFile(path) as file:
            _require_text_column(file.schema_arrow, path.name, field)
            begin = 0
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                if end > first_row:
                    column = file.read_row_group(group, columns=[field]).column(field)
                    column = column.slice(max(0, first_row - begin))
                    for at in range(0, len(column), _ROWS_AT_ONCE):
                        yield column.slice(at, _ROWS_AT_ONCE).to_pylist()
                begin = end


def _require_text_column(schema: Any, name: str, field: str) -> None:
    types = require_library("pyarrow.types", "parquet")
    columns = {column.name: column.type for column in schema}
    kind = columns.get(field)
    if kind is None or not (types.is_string(kind) or types.is_large_string(kind)):
        found = ", ".join(f"{column} ({kind})" for column, kind in columns.items())
        cause = f"{name} has no column {field!r} of text, but {found}"
        raise DataError(cause[:300], "say which column holds the text with --field")


def _document_pieces(data: bytes, after: Cursor) -> Iterator[Piece]:
    """A document in memory: where it can be gone on from is only its end."""
    held = b""
    for part in split_text(data):
        if held:
            yield Piece(held, ends_document=False, after=None)
        held = part
    yield Piece(held, ends_document=True, after=after)


def _cut(data: bytes, start: int) -> int:
    """Where to end a piece that begins at `start`: after the next line, word, or character."""
    end = start + _MAX_PIECE_BYTES
    for end_of in (b"\n", b" "):
        found = data.find(end_of, start + PIECE_BYTES, end)
        if found >= 0:
            return found + 1
    if end >= len(data):
        return len(data)
    while data[end] & 0xC0 == 0x80 and end > start + PIECE_BYTES:
        end -= 1  # inside a character
    return end
