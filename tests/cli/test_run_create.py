"""`psyche-peer run create`: a run that another machine would make the same way."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from psyche_p2p.cli.run import run
from psyche_p2p.config import load_run_config, run_id
from psyche_p2p.errors import StorageError
from psyche_p2p.model.checkpoint import open_checkpoint

NANO = str(Path(__file__).parents[2] / "configs" / "nano.toml")


def create(*arguments: str) -> Result:
    return CliRunner().invoke(run, ["create", NANO, *arguments])


def test_the_run_file_names_the_data_and_the_checkpoint_is_the_runs_first(tmp_path: Path) -> None:
    result = create("--out", str(tmp_path / "run"), "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    config = load_run_config(tmp_path / "run" / "run.toml")
    assert run_id(config).hex() == values["run_id"]
    assert config.data.manifest == values["data_manifest"]
    checkpoint = open_checkpoint(tmp_path / "run" / "checkpoint")
    assert checkpoint.manifest is not None
    assert checkpoint.manifest.param_root.hex() == values["param_root"]


def test_without_a_checkpoint_the_first_root_is_the_same(tmp_path: Path) -> None:
    whole = json.loads(create("--out", str(tmp_path / "a"), "--json").stdout)
    light = json.loads(create("--out", str(tmp_path / "b"), "--json", "--no-checkpoint").stdout)
    assert light["param_root"] == whole["param_root"]
    assert light["run_id"] == whole["run_id"]
    assert not (tmp_path / "b" / "checkpoint").exists()


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    result = create("--out", str(tmp_path))
    assert isinstance(result.exception, StorageError)
    assert list(tmp_path.iterdir()) == []
