"""From text to token ids: its bytes, or what a Hugging Face tokenizer makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from psyche_p2p.data.documents import Piece
from psyche_p2p.data.optional import require_library
from psyche_p2p.errors import DataError
from psyche_p2p.files import storage_error
from psyche_p2p.hashing import hash_bytes, hash_parts

_BYTE_VALUES = 256
_KNOWN_SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")


class Encoder(Protocol):
    """Makes tokens of pieces; the separator, if there is one, follows every document."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def separator(self) -> str: ...

    @property
    def digest(self) -> bytes:
        """What decides the tokens of a text: the same digest, the same tokens."""

    @property
    def source(self) -> bytes:
        """The tokenizer's own file, for whoever gets the tokens; empty if there is none."""

    def encode(self, pieces: Sequence[Piece]) -> npt.NDArray[np.uint32]: ...


class ByteEncoder:
    """A token a byte, a zero byte after every document: what `builtin` does too."""

    vocab_size = _BYTE_VALUES
    separator = "\\0"
    digest = hash_parts("data encoder", b"bytes")
    source = b""

    def encode(self, pieces: Sequence[Piece]) -> npt.NDArray[np.uint32]:
        data = b"".join(part for piece in pieces for part in self._with_separator(piece))
        return np.frombuffer(data, dtype=np.uint8).astype(np.uint32)

    @staticmethod
    def _with_separator(piece: Piece) -> tuple[bytes, ...]:
        return (piece.data, b"\0") if piece.ends_document else (piece.data,)


class TokenizerEncoder:
    """A `tokenizer.json` of Hugging Face, run by their library on all cores."""

    def __init__(self, tokenizer: Any, source: bytes, separator: str) -> None:
        self._tokenizer = tokenizer
        self.source = source
        self.separator = separator
        self.vocab_size: int = _largest_id(tokenizer) + 1
        self.digest = hash_parts("data encoder", hash_bytes(source), separator.encode())
        self._separator_ids = [tokenizer.token_to_id(separator)] if separator else []

    def encode(self, pieces: Sequence[Piece]) -> npt.NDArray[np.uint32]:
        texts = [piece.data.decode() for piece in pieces]
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids: list[Sequence[int]] = []
        for piece, encoding in zip(pieces, encodings, strict=True):
            ids += [encoding.ids, self._separator_ids if piece.ends_document else ()]
        count = sum(map(len, ids))
        return np.fromiter(chain.from_iterable(ids), dtype=np.uint32, count=count)


def load_encoder(path: Path, separator: str | None) -> TokenizerEncoder:
    """The tokenizer in a file; `separator` is chosen among the usual ones if None."""
    tokenizers = require_library("tokenizers", "making tokens of text")
    try:
        source = path.read_bytes()
    except (OSError, ValueError) as error:
        raise storage_error("cannot read the tokenizer", path, error) from error
    try:
        json.loads(source)
        tokenizer = tokenizers.Tokenizer.from_str(source.decode())
    except Exception as error:  # the library raises nothing more exact
        cause = f"{str(path)!r} is not a tokenizer: {str(error)[:120]}"
        raise DataError(cause, "give a model's tokenizer.json") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TokenizerEncoder(tokenizer, source, _choose_separator(tokenizer, separator))


def _largest_id(tokenizer: Any) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)


def _choose_separator(tokenizer: Any, wanted: str | None) -> str:
    if wanted is None:
        known = [name for name in _KNOWN_SEPARATORS if tokenizer.token_to_id(name) is not None]
        if not known:
            cause = "the tokenizer has none of the usual tokens for the end of a document"
            raise DataError(cause, "name its own with --separator, or --separator '' for none")
        return known[0]
    if wanted and tokenizer.token_to_id(wanted) is None:
        cause = f"the tokenizer has no token {wanted!r}"
        raise DataError(cause, "name one it has with --separator, or --separator '' for none")
    return wanted
