"""`psyche-peer run`: make a run, look at it, tell it something, and check its configuration."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from psyche_p2p.config import RunConfig, load_run_config, run_id
from psyche_p2p.config.problems import InvalidConfigError, show_value
from psyche_p2p.config.section import Section
from psyche_p2p.errors import ExitCode

_file = click.argument("path", metavar="FILE", type=click.Path(path_type=Path))


# Imported only when they are called: they need torch or the network.
_LAZY = {
    "create": "psyche_p2p.cli.run_create:create",
    "continue": "psyche_p2p.cli.run_continue:continue_run",
    "status": "psyche_p2p.cli.run_control:status",
    "pause": "psyche_p2p.cli.run_control:pause",
    "resume": "psyche_p2p.cli.run_control:resume",
    "withdraw": "psyche_p2p.cli.run_control:withdraw",
}


class _RunGroup(click.Group):
    """Imports some of its commands only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_LAZY, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _LAZY:
            return super().get_command(ctx, name)
        module, _, attribute = _LAZY[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_RunGroup, epilog="Example: psyche-peer run validate configs/nano.toml")
def run() -> None:
    """Make a run, look at it, and tell it something; check and show its configuration."""


@run.command(epilog="Example: psyche-peer run validate configs/nano.toml")
@_file
def validate(path: Path) -> int:
    """Check FILE and say everything that is wrong with it.

    Exit code 0: the configuration is good. 3: it is not.
    """
    try:
        config = load_run_config(path)
    except InvalidConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {path}: {problem}", err=True)
        return error.exit_code
    click.echo(f"{path}: run {config.run.name} is valid, id {run_id(config).hex()}")
    return ExitCode.OK


@run.command("id", epilog="Example: psyche-peer run id configs/nano.toml")
@_file
def show_id(path: Path) -> None:
    """Print the id of the run that FILE describes, in hexadecimal, alone on a line."""
    click.echo(run_id(load_run_config(path)).hex())


@run.command(epilog="Example: psyche-peer run show configs/nano.toml")
@_file
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(path: Path, as_json: bool) -> None:
    """Print every value of FILE's run; the ones left at their default are marked."""
    config = load_run_config(path)
    if as_json:
        values = {"run_id": run_id(config).hex(), "config": config.model_dump(mode="json")}
        click.echo(json.dumps(values, indent=2))
        return
    click.echo(f"# run id {run_id(config).hex()}")
    for line in toml_lines(config):
        click.echo(line)


def toml_lines(config: RunConfig) -> Iterator[str]:
    """The configuration as a TOML file that loads again; a comment marks what is a default."""
    for name in RunConfig.model_fields:
        yield ""
        yield from _section_lines(name, getattr(config, name))


def _section_lines(prefix: str, section: Section) -> Iterator[str]:
    """The section as TOML that loads again, its inner sections after its own keys."""
    yield f"[{prefix}]"
    yield from _value_lines(prefix, section)


def _value_lines(prefix: str, section: Section) -> Iterator[str]:
    inner: list[tuple[str, Section]] = []
    listed: list[tuple[str, Section]] = []
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            inner.append((name, value))
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], Section):
            listed += [(name, item) for item in value]
            continue
        is_default = not info.is_required() and value == info.default
        yield f"{name} = {_toml(value)}" + ("  # default" if is_default else "")
    for name, value in inner:
        yield ""
        yield from _section_lines(f"{prefix}.{name}", value)
    for name, value in listed:
        yield ""
        yield f"[[{prefix}.{name}]]"
        yield from _value_lines(f"{prefix}.{name}", value)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return show_value(value)
