"""`psyche-peer run continue`: only from what a run's log named, and where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from psyche_p2p.cli.main import main
from psyche_p2p.config import RunConfig, load_run_config, run_id
from psyche_p2p.errors import ExitCode
from psyche_p2p.files import write_atomically
from psyche_p2p.ids import BlobHash, BlockHash, EpochIndex, Height, RoundIndex, Tier
from psyche_p2p.model.checkpoint_manifest import MANIFEST_FILE, CheckpointOrigin
from psyche_p2p.model.checkpoint_writer import write_checkpoint
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.initial_values import initial_roots
from tests.coordinator.world import make_config

CONFIG = make_config(run={"total_rounds": 20})
ROUND, SAMPLE = 12, 288
DATA = BlobHash(b"d" * 32)


def write_taken(
    folder: Path,
    *,
    seed: int = 0,
    tier: int = 0,
    config: RunConfig = CONFIG,
    rounds: int = ROUND,
    data: BlobHash = DATA,
) -> Path:
    """A checkpoint as a peer takes it; the log it claims to be of named seed 0's parameters."""
    held = Tier(tier)
    manifest = write_checkpoint(folder, config.model, initial_state(config.model, seed, held), held)
    origin = CheckpointOrigin(
        config=config,
        data_manifest=data,
        height=Height(17),
        block_hash=BlockHash(b"b" * 32),
        epoch=EpochIndex(1),
        param_round=RoundIndex(rounds),
        first_sample=SAMPLE,
        param_roots=initial_roots(config.model, 0),
    )
    write_atomically(folder / MANIFEST_FILE, replace(manifest, origin=origin).to_json())
    return folder


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "continue", *map(str, arguments)])
    code = stopped.value.code
    assert isinstance(code, int)
    return code


def test_a_run_goes_on_where_the_checkpoint_was_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = write_taken(tmp_path / "taken")
    assert run(taken, "--out", tmp_path / "again", "--json") == ExitCode.OK
    said = json.loads(capsys.readouterr().out)
    config = load_run_config(tmp_path / "again" / "run.toml")
    assert said["run_id"] == run_id(config).hex() != run_id(CONFIG).hex() == said["continues"]
    root = initial_roots(CONFIG.model, 0)[-1].hex()
    assert config.beginning.model_dump() == {"param_root": root, "round": ROUND, "sample": SAMPLE}
    assert config.data.manifest == DATA.hex()
    assert (config.run, config.model, config.schedule) == (
        CONFIG.run,
        CONFIG.model,
        CONFIG.schedule,
    )


def test_a_finished_run_needs_more_rounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = write_taken(tmp_path / "taken", rounds=20)
    assert run(taken, "--out", tmp_path / "again") == ExitCode.CONFIG
    assert "has had 20 rounds, and the run has 20 in all; say with --rounds" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "again").exists()
    assert run(taken, "--out", tmp_path / "again", "--rounds", "30", "--name", "more") == 0
    config = load_run_config(tmp_path / "again" / "run.toml")
    assert (config.run.total_rounds, config.run.name, config.beginning.round) == (30, "more", 20)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 1}, "the log of its run named"),
        ({"tier": 1}, "is the slice of tier 1"),
    ],
)
def test_what_the_log_did_not_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, int], reason: str
) -> None:
    taken = write_taken(tmp_path / "taken", **changes)  # type: ignore[arg-type]
    assert run(taken, "--out", tmp_path / "again") == ExitCode.MODEL
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_a_checkpoint_of_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "plain", CONFIG.model, initial_state(CONFIG.model, 0))
    assert run(tmp_path / "plain", "--out", tmp_path / "again") == ExitCode.MODEL
    assert "does not say which run it was taken of" in capsys.readouterr().err


def test_one_flipped_bit_in_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = write_taken(tmp_path / "taken")
    path = taken / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert run(taken, "--out", tmp_path / "again") == ExitCode.MODEL
    assert "is not what was written: its hash differs" in capsys.readouterr().err
