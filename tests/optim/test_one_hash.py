"""One hash everywhere: fifty rounds end in the same bits however they are computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.optim.rounds import Way, hash_after_rounds

ROOT = Path(__file__).resolve().parents[2]


@cache
def reference_hash(hashed_tier: int = 2) -> str:
    return hash_after_rounds(Way(kernels="plain", hashed_tier=hashed_tier))


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "way",
    [
        Way(kernels="fast"),
        Way(kernels="fast", threads=2),
        Way(kernels="plain", threads=2),
        Way(kernels="fast", shuffled=True),
        Way(kernels="plain", shuffled=True),
        Way(kernels="fast", held_tier=1),
        Way(kernels="fast", held_tier=2),
        Way(kernels="plain", held_tier=2),
    ],
    ids=str,
)
def test_in_this_process(way: Way) -> None:
    assert hash_after_rounds(way) == reference_hash()


def test_a_sliced_peer_equals_the_full_peers_slice() -> None:
    """Also in what tier 1 has and tier 2 has not."""
    assert hash_after_rounds(Way(held_tier=1, hashed_tier=1)) == reference_hash(hashed_tier=1)
    assert reference_hash(hashed_tier=1) != reference_hash(hashed_tier=2)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["fast", "plain"])
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"MKL_CBWR": "COMPATIBLE"},
        {"ATEN_CPU_CAPABILITY": "avx2"},
        {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    ],
    ids=str,
)
def test_in_another_process(kernels: str, environment: dict[str, str]) -> None:
    assert run_elsewhere(Way(kernels=kernels), environment) == reference_hash()


@pytest.mark.slow
def test_plain_floats_would_be_found_out() -> None:
    """The float path ends in other bits for at least one of the same changes."""
    ways = [
        (Way(kernels="float"), {"MKL_CBWR": "COMPATIBLE"}),
        (Way(kernels="float", shuffled=True), {}),
    ]
    baseline = hash_after_rounds(Way(kernels="float"))
    hashes = [run_elsewhere(way, environment) for way, environment in ways]
    assert any(found != baseline for found in hashes), hashes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda() -> None:
    assert hash_after_rounds(Way(kernels="plain", device="cuda")) == reference_hash()


def run_elsewhere(way: Way, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "tests.optim.rounds", json.dumps(asdict(way))]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        check=True,
    )
    return result.stdout.strip()
