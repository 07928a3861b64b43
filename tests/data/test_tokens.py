"""Token files: one order for all, checked to the last token, every defect one line with a cure."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.config import DataConfig, RunConfig, load_run_config
from psyche_p2p.data import token_file
from psyche_p2p.data.load import load_samples
from psyche_p2p.data.samples import TokenSamples
from psyche_p2p.data.tokens import JoinedTokens, open_token_files
from psyche_p2p.errors import DataError
from psyche_p2p.hashing import hash_bytes, hash_parts
from psyche_p2p.ids import BatchInterval

NANO = Path(__file__).parents[2] / "configs" / "nano.toml"
VOCAB = 256


def write_bin(path: Path, tokens: list[int], dtype: str = "<u2") -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.array(tokens, dtype=dtype).tobytes()
    path.write_bytes(data)
    return data


def digest_of(data: bytes) -> bytes:
    blocks = (data[at : at + (64 << 10)] for at in range(0, len(data), 64 << 10))
    return hash_parts("data blocks", b"".join(map(hash_bytes, blocks)))


def run_config(*files: str, manifest: str = "", length: int = 4) -> RunConfig:
    data = DataConfig(
        provider="tokens",
        files=files or ("*.bin",),
        manifest=manifest,
        sequence_length=length,
        heldout_fraction=0.1,
    )
    return load_run_config(NANO).model_copy(update={"data": data})


def opened(folder: Path, *patterns: str, token_bytes: int = 2) -> tuple[list[str], list[int]]:
    manifest, tokens = open_token_files(folder, patterns, token_bytes, VOCAB)
    return [entry.name for entry in manifest.entries], tokens[0 : len(tokens)].tolist()


def test_files_follow_each_other_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(["b.bin", "B.bin", "a/z.bin", "a.bin", "ä.bin"]):
        write_bin(tmp_path / name, [number])
    names = ["B.bin", "a.bin", "a/z.bin", "b.bin", "ä.bin"]
    assert opened(tmp_path, "**/*.bin") == (names, [1, 3, 2, 0, 4])
    assert opened(tmp_path, "*.bin", "a/*", "b.bin") == (names, [1, 3, 2, 0, 4])


@pytest.mark.parametrize(("dtype", "token_bytes"), [("<u2", 2), ("<u4", 4), ("<i4", 4), ("<i2", 2)])
def test_both_formats_hold_the_same_tokens(tmp_path: Path, dtype: str, token_bytes: int) -> None:
    write_bin(tmp_path / "a.bin", [1, 2, 255], dtype)
    np.save(tmp_path / "b.npy", np.array([0, 7], dtype=dtype))
    _, tokens = opened(tmp_path, "*", token_bytes=token_bytes)
    assert tokens == [1, 2, 255, 0, 7]


def test_the_manifest_hashes_every_byte(tmp_path: Path) -> None:
    data = write_bin(tmp_path / "a.bin", list(range(200)) * 500)
    np.save(tmp_path / "b.npy", np.arange(200, dtype="<u2"))
    manifest, _ = open_token_files(tmp_path, ["*"], 2, VOCAB)
    assert manifest.encoding == "uint16-le"
    assert [entry.digest for entry in manifest.entries] == [
        digest_of(data),
        digest_of((tmp_path / "b.npy").read_bytes()),
    ]


@given(
    st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=8), min_size=1, max_size=6),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_a_span_is_what_it_is_in_one_array(parts: list[list[int]], start: int, stop: int) -> None:
    joined = JoinedTokens([np.array(part, dtype=np.uint16) for part in parts])
    whole = [token for part in parts for token in part]
    assert len(joined) == len(whole)
    assert joined[start:stop].tolist() == whole[start:stop]


def test_samples_cross_files_and_never_mix_with_the_held_out(tmp_path: Path) -> None:
    for number in range(5):
        write_bin(tmp_path / f"{number}.bin", list(range(number * 21, number * 21 + 21)))
    samples = load_samples(run_config(), tmp_path)
    assert isinstance(samples, TokenSamples)
    train = samples.train_samples(BatchInterval(0, samples.train_count))
    heldout = samples.heldout_samples(0, samples.heldout_count)
    rows = [*train.tolist(), *heldout.tolist()]
    assert all(row == list(range(row[0], row[0] + 5)) for row in rows)
    assert sorted(row[0] for row in rows) == list(range(0, 104, 4))


def test_a_token_beyond_the_vocabulary_is_found_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "_BLOCK_BYTES", 64)
    for position in (0, 31, 32, 999):
        tokens = [5] * 1000
        tokens[position] = VOCAB
        write_bin(tmp_path / "a.bin", tokens)
        with pytest.raises(DataError, match=f"a.bin has token 256 at position {position}, the"):
            opened(tmp_path, "*.bin")
    write_bin(tmp_path / "a.bin", [5, -1], "<i4")
    (tmp_path / "a.bin").rename(tmp_path / "a.raw")
    np.save(tmp_path / "a.npy", np.array([5, -1], dtype="<i4"))
    with pytest.raises(DataError, match="token -1 at position 1"):
        opened(tmp_path, "*.npy", token_bytes=4)


def make_pipe(folder: Path) -> None:
    os.mkfifo(folder / "a.bin")


def make_escape(folder: Path) -> None:
    write_bin(folder.parent / "outside.bin", [1])
    (folder / "a.bin").symlink_to("../outside.bin")


def make_folder_escape(folder: Path) -> None:
    write_bin(folder.parent / "elsewhere" / "a.bin", [1])
    (folder / "sub").symlink_to("../elsewhere")


def make_circle(folder: Path) -> None:
    (folder / "a.bin").symlink_to("a.bin")


def make_dangling(folder: Path) -> None:
    (folder / "a.bin").symlink_to("nowhere.bin")


def make_truncated(folder: Path) -> None:
    np.save(folder / "a.npy", np.arange(100, dtype="<u2"))
    data = (folder / "a.npy").read_bytes()
    (folder / "a.npy").write_bytes(data[:-2])


def save(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "a.npy", array, allow_pickle=True)


def write(name: str, data: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return make


@pytest.mark.parametrize(
    ("make", "pattern", "message"),
    [
        (Path.exists, "*.bin", r"no file below .* is called '\*\.bin'; copy the run's"),
        (write("a.bin", b"abc"), "*.bin", "a.bin has 3 bytes, not a multiple of 2; it is cut"),
        (write("a.bin", b""), "*.bin", "a.bin holds no tokens"),
        (write("a.txt", b"ab"), "*", "names a.txt, which is neither .bin nor .npy"),
        (write("a.npy", b"\x93NUMPY\x01\x00\xff\xff{"), "*.npy", "a.npy is not a .npy file"),
        (write("a.npy", b"\x93NUMPY\x09\x00" + bytes(99)), "*.npy", "a.npy is not a .npy file"),
        (write("a.npy", b"ab"), "*.npy", "a.npy is not a .npy file"),
        (make_truncated, "*.npy", "a.npy has 326 bytes, its header promises 328"),
        (save(np.arange(4, dtype="<u4")), "*.npy", "holds <u4, the run's tokens are 2-byte"),
        (save(np.arange(4, dtype=">u2")), "*.npy", "holds >u2"),
        (save(np.arange(4, dtype="<f2")), "*.npy", "holds <f2"),
        (save(np.array([{"a": 1}], dtype=object)), "*.npy", r"holds \|O"),
        (save(np.zeros((2, 2), dtype="<u2")), "*.npy", "has 2 dimensions"),
        (make_escape, "*.bin", "a.bin is a link to .* outside the data folder; copy the file"),
        (make_folder_escape, "sub/*.bin", "sub/a.bin is a link to .* outside the data folder"),
        (make_circle, "*.bin", "a.bin' is a link that leads nowhere"),
        (make_dangling, "*.bin", "a.bin' is a link that leads nowhere"),
        (make_pipe, "*.bin", "is not a regular file"),
    ],
)
def test_bad_input_is_one_line_with_a_cure(
    tmp_path: Path, make: Callable[[Path], object], pattern: str, message: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    with pytest.raises(DataError, match=message) as caught:
        opened(folder, pattern)
    assert caught.value.cure
    assert "\n" not in str(caught.value)


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    write_bin(tmp_path / "store" / "real.bin", [1, 2])
    (tmp_path / "a.bin").symlink_to("store/real.bin")
    assert opened(tmp_path, "*.bin") == (["a.bin"], [1, 2])


@pytest.mark.parametrize("name", [b"\xff.bin", b"a\nb.bin", "a\u202eb.bin".encode()])
def test_a_name_that_cannot_be_printed_is_refused(tmp_path: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"ab")
    with pytest.raises(DataError, match="cannot be printed; rename the file") as caught:
        opened(tmp_path, "*.bin")
    assert str(caught.value).isprintable()


def test_a_missing_folder_and_a_missing_option_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; correct --data-dir"):
        load_samples(run_config(), tmp_path / "nowhere")
    with pytest.raises(DataError, match="say where they are with --data-dir"):
        load_samples(run_config())


def test_another_manifest_than_the_runs_is_refused(tmp_path: Path) -> None:
    write_bin(tmp_path / "a.bin", list(range(100)))
    right = load_samples(run_config(), tmp_path).manifest.digest.hex()
    assert load_samples(run_config(manifest=right), tmp_path).manifest.digest.hex() == right
    with pytest.raises(DataError, match=f"manifest is {right}, the run's is {'ab' * 32}; compare"):
        load_samples(run_config(manifest="ab" * 32), tmp_path)


def test_the_built_in_text_needs_a_vocabulary_of_bytes() -> None:
    config = load_run_config(NANO)
    model = config.model.model_copy(update={"vocab_size": 255})
    with pytest.raises(DataError, match=r"raise model\.vocab_size"):
        load_samples(config.model_copy(update={"model": model}))


def test_a_large_file_is_mapped_and_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with path.open("wb") as file:
        file.truncate(256 << 20)  # a hole: 128 million times token 0
    seen = 0

    def count(size_bytes: int) -> None:
        nonlocal seen
        seen += size_bytes

    tracemalloc.start()
    _, tokens = open_token_files(tmp_path, ["*.bin"], 2, VOCAB, count)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tokens) == 128 << 20
    assert seen == 256 << 20
    assert peak_bytes < 32 << 20
