"""Mixtures: the shares are exact at any moment, nothing is seen twice before all was seen once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.config import DataConfig, DataPartConfig, RunConfig, load_run_config
from psyche_p2p.data.load import load_samples
from psyche_p2p.data.mixture import Mixing
from psyche_p2p.errors import DataError
from psyche_p2p.ids import BatchInterval

NANO = Path(__file__).parents[2] / "configs" / "nano.toml"
weights = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@given(weights, st.integers(0, 99))
def test_every_cycle_has_exactly_the_weights(weights: list[int], seed: int) -> None:
    mixing = Mixing(weights, seed)
    places = [mixing.place(index) for index in range(3 * mixing.cycle)]
    for turn in range(3):
        cycle = places[turn * mixing.cycle : (turn + 1) * mixing.cycle]
        counts = Counter(part for part, _ in cycle)
        assert [counts[part] for part in range(len(weights))] == weights
    for part, weight in enumerate(weights):
        within = sorted(index for one, index in places if one == part)
        assert within == list(range(3 * weight))


@given(weights, st.data())
def test_the_longest_prefix_ends_where_a_part_does(weights: list[int], data: st.DataObject) -> None:
    counts = [data.draw(st.integers(0, 30)) for _ in weights]
    mixing = Mixing(weights, 3)
    length = mixing.longest_prefix(counts)
    for index in range(length):
        part, within = mixing.place(index)
        assert within < counts[part]
    part, within = mixing.place(length)
    assert within >= counts[part]


def test_far_indices_cost_no_more_than_near_ones() -> None:
    mixing = Mixing([700, 299, 1], 5)
    part, within = mixing.place(10**15 + 7)
    assert within // [700, 299, 1][part] == (10**15 + 7) // 1000


def part(name: str, weight: int, **values: object) -> DataPartConfig:
    return DataPartConfig.model_validate({"name": name, "weight": weight, **values})


def run_config(*parts: DataPartConfig, manifest: str = "") -> RunConfig:
    data = DataConfig(
        provider="mixture",
        parts=parts,
        sequence_length=8,
        heldout_fraction=0.1,
        manifest=manifest,
    )
    return load_run_config(NANO).model_copy(update={"data": data})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Which part and which slot a token is from can be read off it."""
    for number, name in enumerate(("low", "high")):
        (tmp_path / name).mkdir()
        slots = np.repeat(np.arange(number * 128, number * 128 + 100), 8)
        (tmp_path / name / "a.bin").write_bytes(np.append(slots, 0).astype("<u2").tobytes())
    return tmp_path


LOW = part("low", 3, provider="tokens", files=("low/*.bin",))
HIGH = part("high", 1, provider="tokens", files=("high/*.bin",))


def test_samples_come_in_the_stated_shares(folder: Path) -> None:
    samples = load_samples(run_config(LOW, HIGH), folder)
    rows = samples.train_samples(BatchInterval(0, 80))
    assert [bool(row[0] < 128) for row in rows].count(True) == 60
    assert len({int(row[0]) for row in rows}) == 80
    assert samples.train_samples(BatchInterval(13, 14)).tolist() == rows[13:14].tolist()
    with_builtin = load_samples(run_config(LOW, part("code", 1, provider="builtin")), folder)
    assert with_builtin.train_samples(BatchInterval(0, 5)).shape == (5, 9)


def test_held_out_samples_come_in_the_same_shares(folder: Path) -> None:
    samples = load_samples(run_config(LOW, HIGH), folder)
    assert 12 <= samples.heldout_count <= 16  # ten of each are held out: three cycles and a bit
    heldout = [int(row[0]) for row in samples.heldout_samples(0, 99)]
    assert sum(token < 128 for token in heldout[:12]) == 9
    trained = {int(row[0]) for row in samples.train_samples(BatchInterval(0, 360))}
    assert trained.isdisjoint(heldout)
    assert samples.heldout_samples(0, 0).shape == (0, 9)
    assert samples.heldout_samples(99, 5).shape == (0, 9)


def test_the_manifest_names_every_file_of_every_part(folder: Path) -> None:
    manifest = load_samples(run_config(LOW, HIGH), folder).manifest
    assert [entry.name for entry in manifest.entries] == ["low/low/a.bin", "high/high/a.bin"]
    assert manifest.encoding == "mixture (low uint16-le, high uint16-le)"
    right = manifest.digest.hex()
    assert load_samples(run_config(LOW, HIGH, manifest=right), folder).manifest == manifest
    with pytest.raises(DataError, match=f"manifest is [0-9a-f]+, the run's is {right}"):
        load_samples(run_config(HIGH, LOW, manifest=right), folder)


def test_what_is_wrong_with_a_part_is_said_with_its_name(folder: Path) -> None:
    missing = part("far", 1, provider="tokens", files=("far/*.bin",))
    with pytest.raises(DataError, match=r"far: no file below .* is called"):
        load_samples(run_config(LOW, missing), folder)
    pinned = LOW.model_copy(update={"manifest": "ab" * 32})
    with pytest.raises(DataError, match="low: the data's manifest is"):
        load_samples(run_config(pinned, HIGH), folder)
