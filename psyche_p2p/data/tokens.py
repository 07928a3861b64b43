"""`data.provider = "tokens"`: local files of token ids, found below a folder, in one order for all.

The files follow each other in the order of their names' bytes, so the order is the same on every
file system; the manifest hashes names, sizes and contents.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from psyche_p2p.data.manifest import Manifest
from psyche_p2p.data.token_file import Progress, TokenFile, Tokens, encoding_of, open_token_file
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error

SUFFIXES = (".bin", ".npy")


class JoinedTokens:
    """The tokens of several files as one sequence that is never put together."""

    def __init__(self, parts: Sequence[Tokens]) -> None:
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, span: slice) -> Tokens:
        """The tokens of a span with a step of one, as a new array if it crosses files."""
        start, stop, step = span.indices(len(self))
        if step != 1:
            raise ValueError("tokens are read forwards, one after the other")
        pieces = [self._parts[part][begin:end] for part, begin, end in self.places(start, stop)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.empty(0, np.uint16)])

    def places(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Where a span is: (file, from, to) for every file that it touches."""
        part = bisect_right(self._ends, start)
        while start < stop:
            begin = self._ends[part] - len(self._parts[part])
            end = min(stop, self._ends[part])
            yield part, start - begin, end - begin
            start, part = end, part + 1


def open_token_files(
    folder: Path,
    patterns: Sequence[str],
    token_bytes: int,
    vocab_size: int,
    on_progress: Progress = lambda _: None,
) -> tuple[Manifest, JoinedTokens]:
    """The manifest and the tokens of the files that the patterns name, read once and checked."""
    files: list[TokenFile] = [
        open_token_file(path, name, token_bytes, vocab_size, on_progress)
        for name, path in find_files(folder, patterns, SUFFIXES)
    ]
    manifest = Manifest(encoding_of(token_bytes), tuple(file.entry for file in files))
    return manifest, JoinedTokens([file.tokens for file in files])


def find_files(
    folder: Path, patterns: Sequence[str], suffixes: tuple[str, ...]
) -> list[tuple[str, Path]]:
    """The files below the folder that the patterns name, under the manifest's names and order."""
    if not folder.is_dir():
        raise DataError(f"the data folder {str(folder)!r} does not exist", "correct --data-dir")
    if not patterns:
        raise DataError("the run names no files", "set data.files in its configuration")
    root = folder.resolve()
    found: dict[str, Path] = {}
    for pattern in patterns:
        matches = dict(_matches(folder, root, pattern, suffixes))
        if not matches:
            cause = f"no file below {str(folder)!r} is called {pattern!r}"
            raise DataError(cause, "copy the run's data there, or correct --data-dir")
        found |= matches
    return sorted(found.items(), key=_name_bytes)


def _matches(
    folder: Path, root: Path, pattern: str, suffixes: tuple[str, ...]
) -> Iterator[tuple[str, Path]]:
    """Links may lead anywhere inside the folder and nowhere else."""
    try:
        paths = [path for path in folder.glob(pattern) if not path.is_dir()]
    except OSError as error:
        raise storage_error(f"cannot look for {pattern!r} in", folder, error) from error
    for path in paths:
        name, target = path.relative_to(folder).as_posix(), _resolve(path)
        if not target.is_relative_to(root):
            cause = f"{name} is a link to {str(target)!r}, outside the data folder"
            raise DataError(cause, "copy the file, or choose a --data-dir that holds both")
        if not name.isprintable():  # not UTF-8, or with a line break in it
            raise DataError(f"the file name {name!r} cannot be printed", "rename the file")
        if not name.endswith(suffixes):
            kinds = "neither " + " nor ".join(suffixes) if suffixes[1:] else f"not {suffixes[0]}"
            cause = f"{pattern!r} also names {name}, which is {kinds}"
            raise DataError(cause, "use a narrower pattern in data.files")
        yield name, target


def _resolve(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a circle of links is either, by Python's version
        cause = f"{str(path)!r} is a link that leads nowhere"
        raise DataError(cause, "mend or remove the link") from error


def _name_bytes(item: tuple[str, Path]) -> bytes:
    return item[0].encode()
