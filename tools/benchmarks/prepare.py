"""Preparing text: `data prepare` against `tokenizers` alone, turn by turn over the same text.

Alone means what one would write by hand: the same pieces, from memory, through the library's
fastest batch call, the ids into one array. Ours also reads the text from the disk, cuts it, hashes
every block, writes shards that are on disk when it says so, and notes where it is.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tokenizers

from benchmarks.report import median_ratio, report, time_in_turns
from psyche_p2p.data.builtin import load_stdlib
from psyche_p2p.data.corpus import find_bad_shards, read_about, read_manifest
from psyche_p2p.data.documents import Cursor, find_sources, read_pieces
from psyche_p2p.data.encoder import ByteEncoder, Encoder, load_encoder
from psyche_p2p.data.prepare import Plan, prepare

_MB = 1_000_000
_PIECES_AT_ONCE = 64


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = _write_text(folder / "text.txt", options.mb * _MB)
        tokenizer = _train(folder / "tokenizer.json", text, options.vocab)
        plan = Plan(find_sources([text]), "text", load_encoder(tokenizer, None))
        pieces = [piece.data.decode() for piece in read_pieces(plan.sources, Cursor(0, 0), "text")]
        turns = itertools.count()
        contenders: dict[str, Callable[[], object]] = {
            "alone": lambda: _alone(tokenizer, pieces),
            "ours": lambda: prepare(plan, folder / f"out{next(turns)}"),
        }
        seconds = time_in_turns(contenders, options.repeats, warm_up=0)
        megabytes = text.stat().st_size / _MB
        tokens = read_about(folder / "out0").tokens
        for contender, measured in seconds.items():
            speed = megabytes / statistics.median(measured)
            report(f"prepare.{contender}", round(speed, 2), "MB/s", mb=round(megabytes, 1))
        ratio = median_ratio(seconds["alone"], seconds["ours"])
        report("prepare.ratio", round(ratio, 3), "times the speed of tokenizers alone")
        report("prepare.tokens", tokens, "tokens", same=_alone(tokenizer, pieces) == tokens - 1)
        manifests = {read_manifest(folder / f"out{n}").digest for n in range(options.repeats)}
        report("prepare.manifests", len(manifests), "different ones")
        _report_speed("prepare.bytes", plan, ByteEncoder(), folder / "bytes")
        _report_check(folder / "bytes")
    return 0 if len(manifests) == 1 else 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench prepare", description=__doc__)
    parser.add_argument("--mb", type=int, default=100, help="MB of text")
    parser.add_argument("--vocab", type=int, default=8192, help="the tokenizer's vocabulary")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(arguments)


def _write_text(path: Path, size_bytes: int) -> Path:
    """Source code over and over, each time with other names in it."""
    _, data = load_stdlib()
    text = data.decode(errors="replace").replace("\0", "\n")
    with path.open("w") as file:
        for turn in itertools.count():
            left = size_bytes - file.tell()
            if left <= 0:
                return path
            file.write(text.replace("self", f"self{turn}")[:left])
    return path


def _train(path: Path, text: Path, vocab_size: int) -> Path:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    with text.open() as file:
        tokenizer.train_from_iterator(_lines(file.read(2 * _MB)), trainer)
    tokenizer.save(str(path))
    return path


def _lines(text: str) -> Iterator[str]:
    yield from text.splitlines(keepends=True)


def _alone(tokenizer_path: Path, pieces: list[str]) -> int:
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_path))
    arrays = []
    for start in range(0, len(pieces), _PIECES_AT_ONCE):
        batch = tokenizer.encode_batch_fast(
            pieces[start : start + _PIECES_AT_ONCE], add_special_tokens=False
        )
        arrays += [np.array(encoding.ids, dtype=np.uint16) for encoding in batch]
    return len(np.concatenate(arrays))


def _report_speed(figure: str, plan: Plan, encoder: Encoder, out: Path) -> None:
    began = time.perf_counter()
    prepare(Plan(plan.sources, plan.field, encoder), out)
    speed = plan.size_bytes / _MB / (time.perf_counter() - began)
    report(figure, round(speed, 1), "MB/s")


def _report_check(out: Path) -> None:
    manifest = read_manifest(out)
    began = time.perf_counter()
    bad = list(find_bad_shards(out, manifest, lambda _: None))
    speed = manifest.size_bytes / _MB / (time.perf_counter() - began)
    report("prepare.check", round(speed), "MB/s of tokens", bad=len(bad))
    shutil.rmtree(out)
