"""One file of token ids: `.bin` (bare numbers) or `.npy`, little-endian, mapped into memory.

A file is opened once, and what was hashed and checked is what gets mapped: a name that points
elsewhere later changes nothing.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from psyche_p2p.data.blocks import BlockHasher, digest_of_blocks
from psyche_p2p.data.manifest import ManifestEntry
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error

Tokens = npt.NDArray[np.integer]
Progress = Callable[[int], None]
"""Told how many more bytes have been checked."""

_BLOCK_BYTES = 16 << 20
_MAX_NPY_HEADER_BYTES = 10_000
BIN_TYPES: dict[int, np.dtype[np.integer]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}


@dataclass(frozen=True)
class TokenFile:
    """A checked file: its line in the manifest and its tokens."""

    entry: ManifestEntry
    tokens: Tokens


def encoding_of(token_bytes: int) -> str:
    """What a manifest calls files of tokens of this width."""
    return f"uint{8 * token_bytes}-le"


def open_token_file(
    path: Path, name: str, token_bytes: int, vocab_size: int, on_progress: Progress
) -> TokenFile:
    """Map a file and read it once: its hash, its layout, every token below `vocab_size`."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            dtype, offset, count = _layout(file, name, size_bytes, token_bytes)
            mapped = memoryview(mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_READ))
    except OSError as error:
        raise storage_error("cannot read the token file", path, error) from error
    tokens = np.frombuffer(mapped, dtype=dtype, count=count, offset=offset)
    digest = _check(mapped, name, tokens, vocab_size, on_progress)
    return TokenFile(ManifestEntry(name, size_bytes, digest), tokens)


def open_regular(path: Path) -> int:
    """Nothing but a file, and without waiting for the writer of a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{str(path)!r} is not a regular file", "give the token files themselves")
    return descriptor


def _layout(
    file: BinaryIO, name: str, size_bytes: int, token_bytes: int
) -> tuple[np.dtype[np.integer], int, int]:
    """(type, where the numbers begin, how many)."""
    dtype, offset, count = BIN_TYPES[token_bytes], 0, size_bytes // token_bytes
    if name.endswith(".npy"):
        dtype, offset, count = _read_npy_header(file, name, token_bytes)
    if count == 0:
        raise DataError(f"{name} holds no tokens", "remove it, or write it again")
    expected_bytes = offset + count * token_bytes
    if size_bytes != expected_bytes:
        raise _wrong_size(name, size_bytes, expected_bytes, token_bytes)
    return dtype, offset, count


def _read_npy_header(
    file: BinaryIO, name: str, token_bytes: int
) -> tuple[np.dtype[np.integer], int, int]:
    """The layout that a header promises; nothing in the file is ever executed."""
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(file, max_header_size=_MAX_NPY_HEADER_BYTES)
    except (ValueError, KeyError, EOFError) as error:
        raise DataError(f"{name} is not a .npy file", "write it with numpy.save") from error
    little = dtype.newbyteorder("<")
    if dtype.kind not in "iu" or dtype.itemsize != token_bytes or dtype != little:
        cause = f"{name} holds {dtype.str}, the run's tokens are {token_bytes}-byte little-endian"
        raise DataError(cause, "convert it, or correct data.token_bytes")
    if len(shape) != 1:
        raise DataError(f"{name} has {len(shape)} dimensions, not one", "flatten it")
    return np.dtype(dtype.str), file.tell(), shape[0]


def _wrong_size(name: str, size_bytes: int, expected_bytes: int, token_bytes: int) -> DataError:
    if name.endswith(".npy"):
        cause = f"{name} has {size_bytes} bytes, its header promises {expected_bytes}"
    else:
        cause = f"{name} has {size_bytes} bytes, not a multiple of {token_bytes}"
    return DataError(cause, "it is cut short or damaged: copy it again, or check data.token_bytes")


def _check(
    mapped: memoryview, name: str, tokens: Tokens, vocab_size: int, on_progress: Progress
) -> bytes:
    """The digest of all bytes; DataError at the first token that the model has no row for."""
    header_bytes = len(mapped) - tokens.nbytes
    hasher = BlockHasher()
    hasher.update(mapped[:header_bytes])
    on_progress(header_bytes)
    per_block = _BLOCK_BYTES // tokens.itemsize
    for start in range(0, len(tokens), per_block):
        block = tokens[start : start + per_block]
        hasher.update(block.data.cast("B"))
        require_in_vocabulary(name, block, start, vocab_size)
        on_progress(block.nbytes)
    return digest_of_blocks(hasher.finish())


def require_in_vocabulary(name: str, block: Tokens, start: int, vocab_size: int) -> None:
    """DataError naming the first token of a block, which begins at `start`, that has no row."""
    if int(block.max()) < vocab_size and int(block.min()) >= 0:
        return
    position = int(np.flatnonzero((block < 0) | (block >= vocab_size))[0])
    raise DataError(
        f"{name} has token {int(block[position])} at position {start + position}, "
        f"the model's vocabulary has {vocab_size}",
        "tokenize it for this model, or check data.token_bytes and model.vocab_size",
    )
