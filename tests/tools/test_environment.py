"""The tools' environment: made once, by one of many, again when the lock changes."""

from __future__ import annotations

import multiprocessing
import shutil
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import _environment  # noqa: E402
from _environment import Environment, SetupError  # noqa: E402


def project(folder: Path) -> Path:
    (folder / "constraints.txt").write_text("torch==1\n")
    (folder / "setup.cfg").write_text("[options]\n")
    return folder


def counting_install(environment: Environment, profile: str) -> None:
    """Stands for minutes of pip: leaves one line for every time it was done."""
    environment.folder.mkdir(exist_ok=True)
    with (environment.root / "installs").open("a") as file:
        file.write(f"{profile}\n")


def installs(root: Path) -> list[str]:
    path = root / "installs"
    return path.read_text().split() if path.exists() else []


def ensure(root: Path, profile: str) -> None:
    Environment(root, counting_install).ensure(profile)


def test_a_profile_is_installed_once(tmp_path: Path) -> None:
    root = project(tmp_path)
    for profile in ("run", "run", "dev", "run", "dev"):
        ensure(root, profile)
    assert installs(root) == ["run", "dev"]


def test_what_a_developer_has_serves_a_user(tmp_path: Path) -> None:
    root = project(tmp_path)
    ensure(root, "dev")
    ensure(root, "run")
    assert installs(root) == ["dev"]


@pytest.mark.parametrize("name", ["constraints.txt", "setup.cfg"])
def test_a_changed_lock_makes_it_again(tmp_path: Path, name: str) -> None:
    root = project(tmp_path)
    ensure(root, "run")
    (root / ".venv" / "stale").touch()
    (root / name).write_text("changed\n")
    ensure(root, "run")
    assert installs(root) == ["run", "run"]
    assert not (root / ".venv" / "stale").exists()


def test_another_torch_index_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path)
    ensure(root, "run")
    monkeypatch.setenv("PSYCHE_TORCH_INDEX", "https://example.org/cu130")
    ensure(root, "run")
    assert installs(root) == ["run", "run"]


def test_an_interrupted_making_is_made_again(tmp_path: Path) -> None:
    root = project(tmp_path)

    def interrupted(environment: Environment, profile: str) -> None:
        counting_install(environment, profile)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Environment(root, interrupted).ensure("run")
    ensure(root, "run")
    assert installs(root) == ["run", "run"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"inputs": 3}'])
def test_a_damaged_stamp_makes_it_again(tmp_path: Path, content: str) -> None:
    root = project(tmp_path)
    ensure(root, "run")
    (root / ".venv" / ".installed").write_text(content)
    ensure(root, "run")
    assert installs(root) == ["run", "run"]


def test_many_that_start_at_once_install_once(tmp_path: Path) -> None:
    root = project(tmp_path)
    context = multiprocessing.get_context("fork")
    starters = [context.Process(target=ensure, args=(root, "run")) for _ in range(8)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert [starter.exitcode for starter in starters] == [0] * 8
    assert installs(root) == ["run"]


def test_a_failing_command_is_one_line_with_its_cure() -> None:
    script = "import sys; print('noise'); print('ERROR: no space', file=sys.stderr); sys.exit(1)"
    with pytest.raises(SetupError, match=r"ERROR: no space; free some$"):
        _environment._run([sys.executable, "-c", script], "free some")


def test_a_missing_compiler_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    expected = "no C compiler; install one with: sudo apt-get install build-essential"
    assert _environment._missing_for_observer() == expected


def test_missing_headers_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_environment, "_OBSERVER_NEEDS", "#include <no/such/header.h>\n")
    assert "libgmp-dev python3-dev" in _environment._missing_for_observer()
