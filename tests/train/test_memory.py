"""The memory check: larger needs more, and a refusal names the tier that fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from psyche_p2p.config import RunConfig, load_run_config
from psyche_p2p.errors import ResourceError
from psyche_p2p.ids import Tier
from psyche_p2p.train import memory
from psyche_p2p.train.memory import (
    estimate_bytes,
    estimate_worker_bytes,
    largest_micro_batch,
    require_memory,
)

CONFIGS = Path(__file__).parents[2] / "configs"
CPU = torch.device("cpu")


@pytest.fixture
def config() -> RunConfig:
    return load_run_config(CONFIGS / "llama-100m.toml")


def with_memory(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda _device: count)


def test_a_larger_tier_batch_or_optimizer_needs_more(config: RunConfig) -> None:
    needs = [estimate_bytes(config, Tier(tier), 1) for tier in (0, 1, 2)]
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == 3
    assert estimate_bytes(config, Tier(0), 2) > needs[0]
    heavier = config.model_copy(
        update={"optimizer": config.optimizer.model_copy(update={"kind": "sparse_loco"})}
    )
    assert estimate_bytes(heavier, Tier(0), 1) > needs[0]


def test_too_little_memory_names_the_tier_that_fits(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, estimate_bytes(config, Tier(1), 1))
    with pytest.raises(ResourceError, match=r"tier 0 needs about \d\.\d GB.*; use --tier 1"):
        require_memory(config, Tier(0), CPU)
    require_memory(config, Tier(1), CPU)


def test_no_tier_that_fits_needs_another_device(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, 1 << 20)
    with pytest.raises(ResourceError, match="use a device with more memory"):
        require_memory(config, Tier(0), CPU)


def test_the_micro_batch_shrinks_until_it_fits(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, 2 * estimate_bytes(config, Tier(0), 5))
    assert largest_micro_batch(config, Tier(0), CPU, 32) == 4
    with_memory(monkeypatch, 1)
    assert largest_micro_batch(config, Tier(0), CPU, 32) == 1


def test_this_machine_has_memory() -> None:
    assert memory.available_bytes(CPU) > 1 << 20


def test_a_container_may_leave_less_than_its_machine_has(tmp_path: Path) -> None:
    assert memory._free_in_container(tmp_path) > 1 << 60
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory._free_in_container(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_in_container(tmp_path) > 1 << 60


def test_workers_on_the_same_device_need_room_too(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, worker = (
        estimate(config, Tier(0), 1) for estimate in (estimate_bytes, estimate_worker_bytes)
    )
    assert worker < own
    with_memory(monkeypatch, own + worker)
    require_memory(config, Tier(0), CPU, workers=1)
    with pytest.raises(ResourceError, match=r"cpu, where it is shared, has .*; use --tier \d"):
        require_memory(config, Tier(0), CPU, workers=2)
    with_memory(monkeypatch, worker)
    require_memory(config, Tier(0), CPU, trainers=0, workers=1)
    with pytest.raises(ResourceError, match="tier 0 needs about"):
        require_memory(config, Tier(0), CPU)
    with_memory(monkeypatch, 4 * estimate_bytes(config, Tier(0), 5))
    assert largest_micro_batch(config, Tier(0), CPU, 32, processes=2) == 4
