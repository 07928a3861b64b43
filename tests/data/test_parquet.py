"""Preprocessed parquet: masks and packed rows mean what they say, everything else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psyche_p2p.config import DataConfig, RunConfig, load_run_config
from psyche_p2p.data.load import load_samples
from psyche_p2p.data.parquet_rows import describe_parquet
from psyche_p2p.data.samples import SampleSource
from psyche_p2p.errors import DataError
from psyche_p2p.ids import BatchInterval

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NANO = Path(__file__).parents[2] / "configs" / "nano.toml"
LENGTH = 4
IGNORED = -100
PAD = -1


def write(path: Path, columns: dict[str, Any], kind: Any = None, **options: Any) -> None:
    types = kind or pyarrow.list_(pyarrow.int32())
    arrays = {name: pyarrow.array(rows, types) for name, rows in columns.items()}
    parquet.write_table(pyarrow.table(arrays), path, **options)


def run_config(files: tuple[str, ...] = ("*.parquet",), heldout: float = 0.0) -> RunConfig:
    data = DataConfig(
        provider="parquet", files=files, sequence_length=LENGTH, heldout_fraction=heldout
    )
    return load_run_config(NANO).model_copy(update={"data": data})


def all_rows(folder: Path) -> list[list[int]]:
    samples: SampleSource = load_samples(run_config(), folder)
    count: int = samples.train_count  # type: ignore[attr-defined]
    return sorted(samples.train_samples(BatchInterval(0, count)).tolist())


def test_a_row_is_a_sample_padded_and_masked(tmp_path: Path) -> None:
    inputs = [[1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11, 12]]
    labels = [[1, 2, 3, 4, 5], [IGNORED, IGNORED, 8], [9, 10, IGNORED, 12]]
    write(tmp_path / "a.parquet", {"inputs": inputs, "labels": labels})
    assert all_rows(tmp_path) == [
        [~6, ~7, 8, PAD, PAD],
        [1, 2, 3, 4, 5],
        [9, 10, ~11, 12, PAD],
    ]


def test_packed_sequences_become_samples_of_their_own(tmp_path: Path) -> None:
    inputs = [[1, 2, 3, 4, 5, 6, 0, 0], [7, 8, 9, 10, 11, 0, 0, 0]]
    lengths, positions = [[3, 1, 2], [5]], [[0, 1, 2, 0, 0, 1, 9, 9], [0, 1, 2, 3, 4, 0, 0, 0]]
    expected = [[1, 2, 3, PAD, PAD], [5, 6, PAD, PAD, PAD], [7, 8, 9, 10, 11]]
    columns = {"input_ids": inputs, "sequence_lengths": lengths}
    write(tmp_path / "a.parquet", columns)
    assert all_rows(tmp_path) == expected
    write(tmp_path / "a.parquet", {**columns, "position_ids": positions})
    assert all_rows(tmp_path) == expected
    write(
        tmp_path / "a.parquet",
        {"inputs": [[1, 2, 3, 4, 5]], "position_ids": [[0, 1, 2, 0, 1]]},
    )
    assert all_rows(tmp_path) == [[1, 2, 3, PAD, PAD], [4, 5, PAD, PAD, PAD]]


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.list_(pyarrow.int64()),
        pyarrow.large_list(pyarrow.uint16()),
        pyarrow.list_(pyarrow.int32(), 3),
    ],
    ids=str,
)
def test_every_kind_of_list_is_read_across_row_groups_and_batches(
    tmp_path: Path, kind: Any
) -> None:
    rows = [[n % 256, (n + 1) % 256, n // 256] for n in range(600)]
    write(tmp_path / "b.parquet", {"inputs": rows[300:]}, kind, row_group_size=100)
    write(tmp_path / "a.parquet", {"inputs": rows[:300]}, kind, row_group_size=299)
    assert all_rows(tmp_path) == sorted([*row, PAD, PAD] for row in rows)


def test_held_out_rows_are_never_trained_on(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"inputs": [[n, n, n, n, n] for n in range(100)]})
    samples = load_samples(run_config(heldout=0.2), tmp_path)
    assert samples.heldout_count == 20
    heldout = {int(row[0]) for row in samples.heldout_samples(0, 99)}
    for turn in range(2):
        trained = samples.train_samples(BatchInterval(80 * turn, 80 * (turn + 1)))
        assert {int(row[0]) for row in trained} == set(range(100)) - heldout


def test_the_manifest_is_of_the_files(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"inputs": [[1, 2, 3], [4, 5, 6]]})
    first = load_samples(run_config(), tmp_path).manifest
    assert (first.encoding, first.entries[0].name) == ("parquet-rows", "a.parquet")
    write(tmp_path / "a.parquet", {"inputs": [[1, 2, 3], [4, 5, 7]]})
    assert load_samples(run_config(), tmp_path).manifest.digest != first.digest


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [[1]]}, r"a.parquet has no column inputs, but text \(list<.*it must have"),
        ({"inputs": [[1, 256]]}, "a.parquet row 0 has token 256 at position 1, the model's"),
        ({"inputs": [[1, -1]]}, "a.parquet row 0 has token -1 at position 1"),
        ({"inputs": [[1, 2], [1] * 6]}, "a.parquet row 1: a sequence of 6 tokens, a sample of"),
        ({"inputs": [[1, 2], None]}, "a.parquet has rows with nothing in them"),
        ({"inputs": [[1, None]]}, "a.parquet has rows with nothing in them"),
        ({"inputs": [[1, 2]], "labels": [[1]]}, "row 0: 1 labels for 2 inputs"),
        ({"inputs": [[1, 2]], "labels": [[2, 3]]}, "label 2 at 0 is neither the input 1 nor -100"),
        ({"inputs": [[1, 2]], "sequence_lengths": [[1, 2]]}, r"\[1, 2\] do not fit into 2 inputs"),
        ({"inputs": [[1, 2]], "sequence_lengths": [[3, -1]]}, "do not fit into 2 inputs"),
        ({"inputs": [[1, 2]], "position_ids": [[0]]}, "1 position_ids for 2 inputs"),
        ({"inputs": [[1, 2]], "position_ids": [[1, 2]]}, "no tokens|do not count from 0"),
        (
            {"inputs": [[1, 2]], "position_ids": [[0, 2]]},
            "row 0: position_ids do not count from 0 in every sequence",
        ),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match=message) as caught:
        all_rows(tmp_path)
    assert caught.value.cure
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [pyarrow.float32(), pyarrow.list_(pyarrow.float32())], ids=str)
def test_columns_of_another_type_are_named(tmp_path: Path, kind: Any) -> None:
    values = [1.0, 2.0] if kind == pyarrow.float32() else [[1.0], [2.0]]
    table = pyarrow.table({"inputs": pyarrow.array(values, kind)})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column inputs holds .*float.*, not lists of whole"):
        all_rows(tmp_path)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", bytes(1000)])
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a.parquet (cannot be read as parquet|is empty)"):
        all_rows(tmp_path)


@pytest.mark.parametrize("position", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_named(tmp_path: Path, position: float) -> None:
    write(tmp_path / "a.parquet", {"inputs": [[n % 256, 1, 2] for n in range(1000)]})
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[: int(len(data) * position)])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        all_rows(tmp_path)


def test_a_file_can_be_described(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"inputs": [[1, 2], [3]]})
    described = describe_parquet(tmp_path / "a.parquet")
    assert described["rows"] == 2
    assert list(described["columns"]) == ["inputs"]
    with pytest.raises(DataError, match=r"b\.parquet cannot be read"):
        describe_parquet(tmp_path / "b.parquet")


def test_random_masks_survive_the_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    rows = [random.integers(0, 256, random.integers(2, 6)).tolist() for _ in range(300)]
    labels = [[t if random.random() < 0.5 else IGNORED for t in row] for row in rows]
    write(tmp_path / "a.parquet", {"inputs": rows, "labels": labels}, row_group_size=64)
    expected = [
        [t if label == t else ~t for t, label in zip(row, of_row, strict=True)]
        + [PAD] * (LENGTH + 1 - len(row))
        for row, of_row in zip(rows, labels, strict=True)
    ]
    assert all_rows(tmp_path) == sorted(expected)
