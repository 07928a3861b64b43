"""The basis table is the rounded cosine basis, with the symmetries the fast kernels rely on."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from psyche_p2p.errors import StorageError
from psyche_p2p.optim.basis import LARGEST_SIZE, load_bases, load_basis


@pytest.mark.parametrize("size", range(1, LARGEST_SIZE + 1))
def test_entries_are_the_rounded_transform(size: int) -> None:
    frequency, position = np.arange(size)[:, None], np.arange(size)[None, :]
    exact = np.cos(np.pi * (2 * position + 1) * frequency / (2 * size)) * np.sqrt(2 / size)
    exact[0] /= np.sqrt(2)
    assert np.abs(load_basis(size) - 4096 * exact).max() <= 0.5


@pytest.mark.parametrize("size", range(1, LARGEST_SIZE + 1))
def test_rows_are_symmetric_or_antisymmetric(size: int) -> None:
    rows = load_basis(size)
    np.testing.assert_array_equal(rows[::2], rows[::2, ::-1])
    np.testing.assert_array_equal(rows[1::2], -rows[1::2, ::-1])


def test_a_damaged_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = files("psyche_p2p.optim").joinpath("basis.json").read_text()
    table = json.loads(text)
    table["sizes"]["64"][5] += 1
    monkeypatch.setattr(json, "loads", lambda _: table)
    load_bases.cache_clear()
    with pytest.raises(StorageError, match="basis table is damaged"):
        load_bases()
    load_bases.cache_clear()
