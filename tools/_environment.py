"""Makes .venv on first use and runs a tool inside it. Needs nothing but Python's own library.

The environment is made again when the lock, the package's requirements or the Python version
change. Two tools that start at once are safe: one makes the environment, the other waits for it.

    PSYCHE_TORCH_INDEX=URL    take torch from this package index (a CUDA build, say)
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 10)
EXIT_RESOURCES = 10
_SERVED_BY = {"run": {"run", "dev"}, "dev": {"dev"}}
_INPUTS = ("constraints.txt", "setup.cfg")
_OBSERVER_NEEDS = "#include <gmp.h>\n#include <Python.h>\n"


class SetupError(Exception):
    """Why the environment could not be made, in one line."""


class Environment:
    """A virtual environment and the profiles (`run`, `dev`) installed in it."""

    def __init__(self, root: Path, install: Callable[[Environment, str], None]) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self._stamp_path = self.folder / ".installed"
        self._install = install

    def ensure(self, profile: str) -> Path:
        """The interpreter of an environment that holds the profile, made now if need be."""
        if not self._holds(profile):
            with self._lock():
                if not self._holds(profile):  # nobody made it while we waited
                    self._make(profile)
        return self.python

    def _holds(self, profile: str) -> bool:
        stamp = self._read_stamp()
        is_current = stamp.get("inputs") == self._inputs()
        return is_current and not _SERVED_BY[profile].isdisjoint(stamp.get("profiles", []))

    def _make(self, profile: str) -> None:
        stamp = self._read_stamp()
        if stamp.get("inputs") != self._inputs():
            stamp = {"inputs": self._inputs(), "profiles": []}
            shutil.rmtree(self.folder, ignore_errors=True)
        self._install(self, profile)
        stamp["profiles"] = sorted({*stamp["profiles"], profile})
        unfinished = self._stamp_path.with_suffix(".new")
        unfinished.write_text(json.dumps(stamp))
        unfinished.replace(self._stamp_path)

    def _read_stamp(self) -> dict[str, Any]:
        try:
            stamp = json.loads(self._stamp_path.read_text())
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def _inputs(self) -> str:
        digest = hashlib.sha256()
        for name in _INPUTS:
            digest.update((self.root / name).read_bytes())
        digest.update(platform.python_version().encode())
        digest.update(str(self.root).encode())
        digest.update(os.environ.get("PSYCHE_TORCH_INDEX", "").encode())
        return digest.hexdigest()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.root / ".venv.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say("another tool is making .venv: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def install_profile(environment: Environment, profile: str) -> None:
    """Create the environment if it is not there; install the package with a profile's extras."""
    if not environment.python.exists():
        _say("making .venv: the first use takes a few minutes")
        # not sys.executable: in an activated .venv that is the one just removed
        base = getattr(sys, "_base_executable", sys.executable)
        _run([base, "-m", "venv", str(environment.folder)], _venv_cure())
        index = os.environ.get("PSYCHE_TORCH_INDEX")
        torch = ["torch", *(["--index-url", index] if index else [])]
        _pip(environment, "torch", torch)
    package = f"{environment.root}[dev]" if profile == "dev" else str(environment.root)
    _pip(environment, f"psyche-p2p ({profile})", ["--editable", package])
    if profile == "dev":
        _install_observer(environment)


def _install_observer(environment: Environment) -> None:
    """py-libp2p compiles C code; a machine that cannot do that goes without it."""
    missing = _missing_for_observer()
    if missing:
        _say(f"warning: the observer extra is left out: {missing}")
        return
    try:
        _pip(environment, "the observer extra", ["--editable", f"{environment.root}[dev,observer]"])
    except SetupError as error:
        _say(f"warning: the observer extra is left out: {error}")


def _missing_for_observer() -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return f"no C compiler; install one with: {_package_command('compiler')}"
    include = f"-I{_python_include()}"
    check = subprocess.run(
        [compiler, include, "-E", "-x", "c", "-"],
        input=_OBSERVER_NEEDS,
        text=True,
        capture_output=True,
        check=False,
    )
    if check.returncode != 0:
        command = _package_command("headers")
        return f"no headers of GMP or of Python; install them with: {command}"
    return ""


def _python_include() -> str:
    return sysconfig.get_path("include")


def _package_command(what: str) -> str:
    if sys.platform == "darwin":
        return "xcode-select --install" if what == "compiler" else "brew install gmp"
    if shutil.which("dnf"):
        packages = "gcc" if what == "compiler" else "gmp-devel python3-devel"
        return f"sudo dnf install {packages}"
    packages = "build-essential" if what == "compiler" else "libgmp-dev python3-dev"
    return f"sudo apt-get install {packages}"


def _venv_cure() -> str:
    return "on Debian and Ubuntu: sudo apt-get install python3-venv"


def _pip(environment: Environment, what: str, arguments: Sequence[str]) -> None:
    _say(f"installing {what}")
    began = time.monotonic()
    lock = str(environment.root / "constraints.txt")
    command = [str(environment.python), "-m", "pip", "install", "--quiet", "--constraint", lock]
    _run([*command, *arguments], "check the network and the free disk space, then try again")
    _say(f"installed {what} in {time.monotonic() - began:.0f} s")


def _run(command: list[str], cure: str) -> None:
    result = subprocess.run(command, text=True, capture_output=True, check=False)
    if result.returncode != 0:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines
        reason = errors[-1].strip() if errors else f"exit code {result.returncode}"
        raise SetupError(f"{Path(command[0]).name} {' '.join(command[1:4])}: {reason}; {cure}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run_in_environment(profile: str, script: str) -> NoReturn:
    """Become `script` (a path below the project), run by the environment's interpreter."""
    if sys.version_info < OLDEST_PYTHON:
        _say(f"error: Python 3.10 or newer is needed, this is {platform.python_version()}")
        sys.exit(EXIT_RESOURCES)
    try:
        python = str(Environment(ROOT, install_profile).ensure(profile))
    except (SetupError, OSError) as error:
        _say(f"error: cannot make .venv: {error}")
        sys.exit(EXIT_RESOURCES)
    except KeyboardInterrupt:
        _say("interrupted: the next start makes .venv again")
        sys.exit(130)
    os.execv(python, [python, str(ROOT / script), *sys.argv[1:]])
