"""Preparing tokens: one result whatever happens on the way, and damage is named."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from psyche_p2p.config import DataConfig, load_run_config
from psyche_p2p.data import prepare as module
from psyche_p2p.data.corpus import find_bad_shards, read_about, read_manifest
from psyche_p2p.data.documents import Piece, find_sources
from psyche_p2p.data.encoder import ByteEncoder, load_encoder
from psyche_p2p.data.load import load_samples
from psyche_p2p.data.prepare import NOTE, Plan, prepare
from psyche_p2p.errors import DataError, StorageError
from psyche_p2p.ids import BatchInterval
from tests.data.prepare_worker import BATCH_BYTES, SHARD_BYTES, ImpatientClock
from tests.data.tokenizers_here import TEXT, write_tokenizer

NANO = Path(__file__).parents[2] / "configs" / "nano.toml"


def write_texts(folder: Path, count: int = 4, copies: int = 3000) -> Path:
    folder.mkdir()
    for number in range(count):
        words = random.Random(number).sample(TEXT.split(), 5)
        text = "".join(f"{line} {' '.join(words)} {TEXT}" for line in range(copies))
        (folder / f"{number}.txt").write_text(text)
    return folder


def bytes_plan(*paths: Path, shard_bytes: int = 1 << 20) -> Plan:
    return Plan(find_sources(paths), "text", ByteEncoder(), shard_bytes)


def test_bytes_are_the_text_with_a_zero_after_each_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("äb")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "c.txt").write_text("c\n")
    manifest = prepare(bytes_plan(tmp_path), tmp_path / "out")
    tokens = np.fromfile(tmp_path / "out" / "shard-00000.bin", dtype="<u2")
    assert bytes(tokens.astype(np.uint8)) == "äb\0\0c\n\0".encode()
    about = read_about(tmp_path / "out")
    assert (about.tokens, about.documents, about.text_bytes) == (8, 3, 5)
    assert read_manifest(tmp_path / "out") == manifest


def test_a_tokenizer_gives_what_it_gives_alone(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "tokenizer.json")
    folder = write_texts(tmp_path / "texts", copies=40)
    encoder = load_encoder(path, None)
    prepare(Plan(find_sources([folder]), "text", encoder), tmp_path / "out")
    tokens = np.fromfile(tmp_path / "out" / "shard-00000.bin", dtype="<u2")
    tokenizer = encoder._tokenizer
    expected: list[int] = []
    for number in range(4):
        expected += tokenizer.encode((folder / f"{number}.txt").read_text()).ids
        expected.append(tokenizer.token_to_id("<|endoftext|>"))
    assert tokens.tolist() == expected
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == path.read_bytes()


def test_what_is_prepared_can_be_trained_on_under_the_same_manifest(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "texts", copies=300)
    manifest = prepare(bytes_plan(folder, shard_bytes=30_000), tmp_path / "out")
    assert len(manifest.entries) > 3
    data = DataConfig(
        provider="tokens",
        files=("shard-*.bin",),
        manifest=manifest.digest.hex(),
        sequence_length=32,
    )
    config = load_run_config(NANO).model_copy(update={"data": data})
    samples = load_samples(config, tmp_path / "out")
    assert samples.manifest == manifest
    assert samples.train_samples(BatchInterval(0, 3)).shape == (3, 33)


class StoppingEncoder(ByteEncoder):
    """Fails after so many batches, as a full disk or an interruption would."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def encode(self, pieces: Sequence[Piece]) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().encode(pieces)


@pytest.mark.parametrize("shard_bytes", [70_000, 64 << 10, 1 << 20])
def test_an_interruption_anywhere_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_bytes: int
) -> None:
    monkeypatch.setattr(module, "_BATCH_BYTES", 100_000)
    folder = write_texts(tmp_path / "texts", copies=1500)
    whole = prepare(bytes_plan(folder, shard_bytes=shard_bytes), tmp_path / "whole")
    for batches in (0, 1, 2, 5):
        out = tmp_path / str(batches)
        for _ in range(20):
            stopping = Plan(find_sources([folder]), "text", StoppingEncoder(batches), shard_bytes)
            try:
                manifest = prepare(stopping, out, clock=ImpatientClock())
                break
            except KeyboardInterrupt:
                batches += 1
        assert manifest == whole
        assert sorted(path.name for path in out.iterdir()) == sorted(
            path.name for path in (tmp_path / "whole").iterdir()
        )
        assert list(find_bad_shards(out, manifest, lambda _: None)) == []


def test_killed_at_any_moment_it_goes_on_and_the_manifest_is_the_same(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer.json")
    folder = write_texts(tmp_path / "texts", copies=2500)
    command = [sys.executable, "-m", "tests.data.prepare_worker", str(tokenizer), str(folder)]
    root = Path(__file__).parents[2]
    module_plan = Plan(find_sources([folder]), "text", load_encoder(tokenizer, None), SHARD_BYTES)
    whole = prepare(module_plan, tmp_path / "whole")
    seed = random.randrange(1 << 30)
    lines_before_kill = random.Random(seed)
    began_at: list[int] = []
    kills = 0
    while True:
        # the first time until something has surely been noted: each line is said before its note
        wait_for = lines_before_kill.randint(1, 3) if kills else 3
        with subprocess.Popen(
            [*command, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True, cwd=root
        ) as worker:
            assert worker.stdout is not None
            said = [line for _, line in zip(range(wait_for), worker.stdout, strict=False)]
            if kills < 6 and len(said) == wait_for and len(said[-1]) < 20:
                worker.send_signal(signal.SIGKILL)
                kills += 1
                began_at.append(int(said[0]))
                continue
            said += list(worker.stdout)
        assert worker.returncode == 0
        break
    assert kills >= 3, f"seed {seed}"
    assert began_at == sorted(began_at), f"seed {seed}"
    assert began_at[-1] >= BATCH_BYTES  # it did go on, and not begin again
    assert said[-1].strip() == whole.digest.hex(), f"seed {seed}"
    assert list(find_bad_shards(tmp_path / "out", whole, lambda _: None)) == []


def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr(module, "_BATCH_BYTES", 100_000)
    folder, out = write_texts(tmp_path / "texts", copies=1500), tmp_path / "out"
    plan = Plan(find_sources([folder]), "text", StoppingEncoder(3), 150_000)
    with pytest.raises(KeyboardInterrupt):
        prepare(plan, out, clock=ImpatientClock())
    assert (out / NOTE).exists()
    return folder, out


def test_a_damaged_shard_is_named_before_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = interrupted(tmp_path, monkeypatch)
    plan = bytes_plan(folder, shard_bytes=150_000)
    shard = out / "shard-00001.bin"
    data = shard.read_bytes()
    shard.write_bytes(data[:70_000] + b"\xff" + data[70_001:])
    with pytest.raises(DataError, match=r"shard-00001.bin is damaged: 1 of 3 blocks, the first"):
        prepare(plan, out)
    shard.write_bytes(data[:-1])
    with pytest.raises(DataError, match=r"shard-00001.bin has 149999 bytes, the manifest says"):
        prepare(plan, out)
    shard.unlink()
    with pytest.raises(DataError, match=r"shard-00001.bin is missing; start over with --again"):
        prepare(plan, out)
    again = prepare(plan, out, again=True)
    assert again == prepare(plan, tmp_path / "fresh")


def test_a_half_written_part_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = interrupted(tmp_path, monkeypatch)
    (part,) = out.glob("*.part")
    part.write_bytes(part.read_bytes()[:10])
    with pytest.raises(DataError, match=r"shard-\d+.bin.part has lost its last \d+ bytes"):
        prepare(bytes_plan(folder, shard_bytes=150_000), out)


def test_other_input_or_settings_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = interrupted(tmp_path, monkeypatch)
    with pytest.raises(DataError, match="was begun with other files"):
        prepare(bytes_plan(folder, shard_bytes=160_000), out)
    (folder / "1.txt").write_text("changed")
    with pytest.raises(DataError, match="was begun with other files"):
        prepare(bytes_plan(folder, shard_bytes=150_000), out)
    finished = tmp_path / "finished"
    first = prepare(bytes_plan(folder), finished)
    assert prepare(bytes_plan(folder), finished) == first
    with pytest.raises(DataError, match="holds tokens of something else"):
        prepare(bytes_plan(folder / "0.txt"), finished)
    (out / NOTE).write_text("{")
    with pytest.raises(DataError, match="is damaged; choose another --out"):
        prepare(bytes_plan(folder), out)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "texts", count=1, copies=10)
    with (
        module._locked(tmp_path / "out"),
        pytest.raises(StorageError, match="another process is preparing"),
    ):
        prepare(bytes_plan(folder), tmp_path / "out")


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    encoder = load_encoder(write_tokenizer(tmp_path / "tokenizer.json"), None)
    (tmp_path / "a.txt").write_text("good")
    (tmp_path / "b.txt").write_bytes(b"abc\xff")
    sources = find_sources([tmp_path / "a.txt", tmp_path / "b.txt"])
    with pytest.raises(DataError, match=r"b\.txt is not UTF-8: byte 3 after byte 0; convert it"):
        prepare(Plan(sources, "text", encoder), tmp_path / "out")


def test_tokenizers_and_separators_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "tokenizer.json")
    assert load_encoder(path, None).separator == "<|endoftext|>"
    assert load_encoder(path, "").separator == ""
    with pytest.raises(DataError, match="has no token 'NOPE'; name one it has with --separator"):
        load_encoder(path, "NOPE")
    for content in (b"{}", b"\xff", b"[1]", b"not json"):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.json' is not a tokenizer"):
            load_encoder(tmp_path / "bad.json", None)
    with pytest.raises(StorageError, match="No such file"):
        load_encoder(tmp_path / "none.json", None)


def test_nothing_is_made_of_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(DataError, match="the input holds no text"):
        prepare(bytes_plan(tmp_path / "a.jsonl"), tmp_path / "out")
