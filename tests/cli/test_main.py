"""The command as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from psyche_p2p.cli.main import cli
from psyche_p2p.config import load_run_config, parse_run_config
from psyche_p2p.errors import ExitCode
from psyche_p2p.ids import PeerId, public_key_from_peer_id

CONFIGS = Path(__file__).parents[2] / "configs"


def peer(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run psyche-peer as its entry point does."""
    code = "from psyche_p2p.cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(*arguments: str | Path) -> tuple[ExitCode, str]:
    """The exit code and the one line of an error; nothing may have gone to standard output."""
    result = peer(*arguments)
    (line,) = result.stderr.splitlines()
    assert result.stdout == ""
    return ExitCode(result.returncode), line


def test_a_new_key_prints_its_peer_id_alone_and_shows_the_same(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    made = peer("keys", "new", "--out", path)
    assert (made.returncode, made.stderr) == (0, "")
    public_key_from_peer_id(PeerId(made.stdout.strip()))
    assert made.stdout == made.stdout.strip() + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert peer("keys", "show", path).stdout == made.stdout


def test_bad_keys_are_one_line_and_exit_code_4(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    assert refused("keys", "show", path)[0] is ExitCode.IDENTITY
    peer("keys", "new", "--out", path)
    path.chmod(0o644)
    code, line = refused("keys", "show", path)
    assert code is ExitCode.IDENTITY
    assert line.endswith(f"can be read by others (mode 0644); close it with: chmod 600 {path}")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut short: 67 of 68 bytes" in refused("keys", "show", path)[1]


def test_a_key_is_never_overwritten_and_never_half_written(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    peer("keys", "new", "--out", path)
    before = path.read_bytes()
    assert refused("keys", "new", "--out", path)[0] is ExitCode.STORAGE
    assert path.read_bytes() == before
    assert refused("keys", "new", "--out", tmp_path / "no" / "peer.key")[0] is ExitCode.STORAGE
    assert [entry.name for entry in tmp_path.iterdir()] == ["peer.key"]


def test_a_read_only_folder_is_one_line_and_exit_code_5(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write anywhere")
    code, line = refused("keys", "new", "--out", tmp_path / "peer.key")
    assert code is ExitCode.STORAGE
    assert "Permission denied; choose a folder you may write" in line


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that refuses files")
def test_a_folder_that_takes_no_files_is_one_line_and_exit_code_5() -> None:
    code, line = refused("keys", "new", "--out", "/proc/peer.key")
    assert code is ExitCode.STORAGE
    assert "cannot write '/proc/peer.key'" in line


def test_run_id_is_alone_on_its_line() -> None:
    result = peer("run", "id", CONFIGS / "nano.toml")
    assert len(bytes.fromhex(result.stdout.removesuffix("\n"))) == 32
    assert result.stdout.strip() in peer("run", "validate", CONFIGS / "nano.toml").stdout


def test_what_run_show_prints_is_the_same_run() -> None:
    shown = peer("run", "show", CONFIGS / "nano.toml").stdout
    assert peer("run", "id", CONFIGS / "nano.toml").stdout.strip() in shown
    written, original = (
        parse_run_config(text.encode(), "shown")
        for text in (shown, (CONFIGS / "nano.toml").read_text())
    )
    assert written == original
    assert "pipeline_depth = 1  # default" in shown
    assert "hidden_size = 128\n" in shown


def test_run_show_as_json_agrees_with_the_file() -> None:
    shown = json.loads(peer("run", "show", CONFIGS / "small.toml", "--json").stdout)
    original = load_run_config(CONFIGS / "small.toml").model_dump(mode="json")
    assert shown["config"] == original
    assert shown["run_id"] == peer("run", "id", CONFIGS / "small.toml").stdout.strip()


def test_validate_lists_every_mistake(tmp_path: Path) -> None:
    text = (CONFIGS / "nano.toml").read_text()
    path = tmp_path / "bad.toml"
    path.write_text(text.replace("max_tier = 2", "max_tier = -1").replace("2e-3", "nan"))
    result = peer("run", "validate", path)
    assert result.returncode == ExitCode.CONFIG
    assert result.stderr.splitlines() == [
        f"error: {path}: model.max_tier = -1: must be at least 0",
        f"error: {path}: schedule.learning_rate = NaN: must be a finite number",
    ]
    code, line = refused("run", "id", path)
    assert code is ExitCode.CONFIG
    assert line.endswith("must be at least 0; 1 more: see psyche-peer run validate")


def test_wrong_usage_is_exit_code_2() -> None:
    result = peer("keys", "new")
    assert result.returncode == ExitCode.USAGE
    assert "Missing option '--out'" in result.stderr
    assert peer("nonsense").returncode == ExitCode.USAGE


def test_help_of_every_command_has_an_example() -> None:
    def walk(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        if not isinstance(command, click.Group):
            return [path]
        context = click.Context(command)
        found = [path]
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found += walk(inner, (*path, name))
        return found

    commands = walk(cli, ())
    assert len(commands) >= 8
    without = [path for path in commands if "Example" not in _help(cli, path)]
    assert without == []


def _help(root: click.Command, path: tuple[str, ...]) -> str:
    return CliRunner().invoke(root, [*path, "--help"]).output


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from psyche_p2p.cli.main import main\n"
        "try: main(['keys', '--help'])\n"
        "finally: print([name for name in ('torch', 'hivemind', 'grpc') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
