"""Samples: windows of the text, held-out ones never trained on, one order per pass."""

from __future__ import annotations

import numpy as np
import pytest

from psyche_p2p.config import DataConfig
from psyche_p2p.data.builtin import load_stdlib
from psyche_p2p.data.manifest import Manifest, make_manifest
from psyche_p2p.data.samples import TokenSamples, load_builtin_samples
from psyche_p2p.errors import DataError
from psyche_p2p.ids import BatchInterval

LENGTH = 8
SLOTS = 50


def counting_samples(heldout_fraction: float = 0.1, seed: int = 3) -> TokenSamples:
    """A corpus in which every token is its own position."""
    tokens = np.arange(SLOTS * LENGTH + 1, dtype=np.int32)
    return TokenSamples(Manifest("test", ()), tokens, LENGTH, seed, heldout_fraction)


def starts(samples: np.ndarray) -> list[int]:
    assert samples.dtype == np.int64
    return [int(row[0]) for row in samples]


def test_a_sample_is_a_window_and_the_token_after_it() -> None:
    rows = counting_samples().train_samples(BatchInterval(0, 5))
    assert rows.shape == (5, LENGTH + 1)
    for row in rows:
        assert row[0] % LENGTH == 0
        assert list(row) == list(range(row[0], row[0] + LENGTH + 1))


def test_heldout_samples_are_never_trained_on() -> None:
    source = counting_samples()
    heldout = starts(source.heldout_samples(0, 100))
    assert len(heldout) == len(set(heldout)) == source.heldout_count == 5
    for turn in range(3):
        batch = BatchInterval(45 * turn, 45 * (turn + 1))
        seen = starts(source.train_samples(batch))
        assert sorted(seen + heldout) == [LENGTH * slot for slot in range(SLOTS)]


def test_every_pass_has_its_own_order_and_every_seed_too() -> None:
    source = counting_samples()
    orders = [
        starts(source.train_samples(BatchInterval(0, 45))),
        starts(source.train_samples(BatchInterval(45, 90))),
        starts(counting_samples(seed=4).train_samples(BatchInterval(0, 45))),
    ]
    assert len({tuple(order) for order in orders}) == 3


def test_nothing_held_out_is_an_empty_array() -> None:
    assert counting_samples(0.0).heldout_samples(0, 10).shape == (0, LENGTH + 1)


def test_a_corpus_that_is_too_small_is_refused() -> None:
    with pytest.raises(DataError, match="9 tokens are too few for samples of 8"):
        TokenSamples(Manifest("test", ()), np.arange(9), LENGTH, 0, 0.1)


def test_the_manifest_notices_every_change() -> None:
    files = [("a.py", b"one"), ("b.py", b"two")]
    changed = [
        files[::-1],
        [("a.py", b"onetwo"), ("b.py", b"")],
        [("a.py", b"one"), ("c.py", b"two")],
        [("a.py", b"one"), ("b.py", b"twO")],
    ]
    digests = {make_manifest("bytes", entries).digest for entries in [files, *changed]}
    assert len(digests) == 5
    assert make_manifest("bytes", files).digest != make_manifest("words", files).digest


def test_the_standard_library_is_the_same_text_twice() -> None:
    manifest, text = load_stdlib()
    assert len(text) == manifest.size_bytes + len(manifest.entries)
    assert manifest.size_bytes > 4_000_000
    assert load_stdlib()[0].digest == manifest.digest
    names = [entry.name for entry in manifest.entries]
    assert "argparse.py" in names
    assert "asyncio/tasks.py" in names
    assert not [name for name in names if "site-packages" in name or "_sysconfigdata" in name]


def test_another_manifest_is_refused_with_both_hashes() -> None:
    config = DataConfig(sequence_length=128, manifest="ab" * 32)
    with pytest.raises(DataError, match=f"manifest is [0-9a-f]{{64}}, the run's is {'ab' * 32}"):
        load_builtin_samples(config)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(DataError, match="no built-in text 'novels'"):
        load_builtin_samples(DataConfig(sequence_length=128, source="novels"))
