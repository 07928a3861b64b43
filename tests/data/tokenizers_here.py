"""A small tokenizer made on the spot: no download, the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest

TEXT = "Die Würde des Menschen ist unantastbar. The quick brown fox jumps over the lazy dog.\n"


def write_tokenizer(path: Path, vocab_size: int = 300) -> Path:
    """A byte-level BPE with <|endoftext|>, trained on a sentence or two."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 20, trainer)
    tokenizer.save(str(path))
    return path
