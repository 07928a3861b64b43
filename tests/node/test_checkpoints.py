"""Checkpoints of a run: only ever parameters that the log names, and the newest few of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from psyche_p2p.coordinator import State
from psyche_p2p.errors import ModelError
from psyche_p2p.ids import BlobHash, EpochIndex, Height, ParamRoot, RoundIndex, Tier
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.checkpoint_manifest import MANIFEST_FILE, read_manifest
from psyche_p2p.model.checkpoint_writer import write_checkpoint
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.initial_values import initial_roots
from psyche_p2p.node.checkpoints import Checkpoints
from psyche_p2p.node.settled import Settled
from tests.coordinator.world import World, make_config

CONFIG = make_config(checkpoint={"every_rounds": 4, "keep": 2})
DATA = BlobHash(b"d" * 32)
OTHER = ParamRoot(b"x" * 32)


@pytest.fixture
def settled() -> Settled:
    return Settled()


@pytest.fixture
def checkpoints(tmp_path: Path, settled: Settled) -> Checkpoints:
    found = Checkpoints(tmp_path / "checkpoints", CONFIG, Tier(1), settled, DATA)
    found.open()
    return found


@cache
def roots(seed: int) -> tuple[ParamRoot, ...]:
    return initial_roots(CONFIG.model, seed)


def state_after(param_round: int, agreed: tuple[ParamRoot, ...]) -> State:
    """The run's state at the block that agrees on these parameters."""
    begun = World.start(CONFIG, 3).state
    return replace(
        begun,
        height=Height(param_round + 3),
        epoch=EpochIndex(1),
        next_round=RoundIndex(param_round),
        data_index=24 * param_round,
        param_round=RoundIndex(param_round),
        param_roots=agreed,
    )


def write(checkpoints: Checkpoints, param_round: int, seed: int) -> RoundIndex:
    """What the trainer writes; each seed has parameters of its own."""
    applied, tier = RoundIndex(param_round), Tier(1)
    place = checkpoints.unproven_place(applied)
    write_checkpoint(place, CONFIG.model, initial_state(CONFIG.model, seed, tier), tier)
    checkpoints.take(applied)
    return applied


def settle(checkpoints: Checkpoints) -> list[Path]:
    done = [checkpoints.carry_out(one) for one in checkpoints.take_decided()]
    return [path for path in done if path is not None]


def test_a_checkpoint_waits_for_the_log_and_then_names_its_block(
    checkpoints: Checkpoints, settled: Settled
) -> None:
    settled.on_state(state_after(0, roots(0)))
    write(checkpoints, 4, seed=1)
    assert settle(checkpoints) == checkpoints.published() == []
    agreed = state_after(4, roots(1))
    settled.on_state(agreed)
    assert checkpoints.is_any_decided
    assert settle(checkpoints) == checkpoints.published()
    (folder,) = checkpoints.published()
    assert folder.name == "round-00000004"
    manifest = open_checkpoint(folder).manifest
    assert manifest is not None
    origin = manifest.origin
    assert origin is not None
    assert (origin.height, origin.block_hash) == (agreed.height, agreed.block_hash)
    assert (origin.epoch, origin.param_round, origin.first_sample) == (1, 4, 96)
    assert origin.param_roots == roots(1)
    assert (origin.config, origin.run_id, origin.data_manifest) == (CONFIG, agreed.run_id, DATA)
    assert not checkpoints.is_missing(RoundIndex(4))


def test_what_the_log_contradicts_or_passes_over_is_removed(
    checkpoints: Checkpoints, settled: Settled, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkpoints, 4, seed=1)
    settled.on_state(state_after(4, (roots(1)[0], OTHER, OTHER)))  # ours is the one in the middle
    assert settle(checkpoints) == []
    write(checkpoints, 5, seed=1)
    settled.on_state(state_after(6, roots(1)))
    assert settle(checkpoints) == []
    assert list(checkpoints.unproven_place(RoundIndex(0)).parent.iterdir()) == []


def test_the_newest_few_are_kept(checkpoints: Checkpoints, settled: Settled) -> None:
    for seed, param_round in enumerate((4, 8, 12, 16)):
        write(checkpoints, param_round, seed)
        settled.on_state(state_after(param_round, roots(seed)))
        settle(checkpoints)
    names = [path.name for path in checkpoints.published()]
    assert names == ["round-00000012", "round-00000016"]


def test_what_a_killed_process_left_unproven_is_cleared_away(
    checkpoints: Checkpoints, settled: Settled
) -> None:
    write(checkpoints, 4, seed=1)
    settled.on_state(state_after(4, roots(1)))
    settle(checkpoints)
    write(checkpoints, 8, seed=1)
    checkpoints.open()
    assert [path.name for path in checkpoints.published()] == ["round-00000004"]
    assert not checkpoints.unproven_place(RoundIndex(8)).exists()


def test_the_schedule_skips_rounds_that_a_late_peer_hurries_through(
    checkpoints: Checkpoints, settled: Settled
) -> None:
    settled.on_state(state_after(8, roots(0)))
    due = [index for index in range(13) if checkpoints.is_scheduled(RoundIndex(index))]
    assert due == [8, 12]


def test_a_manifest_whose_configuration_is_of_another_run_is_refused(
    checkpoints: Checkpoints, settled: Settled
) -> None:
    write(checkpoints, 4, seed=1)
    agreed = state_after(4, roots(1))
    settled.on_state(agreed)
    (folder,) = settle(checkpoints)
    manifest = folder / MANIFEST_FILE
    text = manifest.read_text()
    manifest.write_text(text.replace(agreed.run_id.hex(), "0" * 64))
    with pytest.raises(ModelError, match="of another run than its run_id"):
        read_manifest(folder)
    manifest.write_text(text.replace('"height": 7', '"height": -7'))
    with pytest.raises(ModelError, match="'-7' is not a count"):
        read_manifest(folder)
