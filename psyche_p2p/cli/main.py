"""The `psyche-peer` command: its groups, its options for all, and how errors reach a person."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any, NoReturn

import click

from psyche_p2p import __version__
from psyche_p2p.errors import ExitCode, PsycheError
from psyche_p2p.log import configure_logging

# Commands are imported when they are used, so that `--help` and `keys` never wait for torch.
_COMMANDS = {
    "start": "psyche_p2p.cli.start:start",
    "witness": "psyche_p2p.cli.start:witness",
    "inspect-blob": "psyche_p2p.cli.inspect_blob:inspect_blob",
    "keys": "psyche_p2p.cli.keys:keys",
    "log": "psyche_p2p.cli.log:log",
    "run": "psyche_p2p.cli.run:run",
    "checkpoint": "psyche_p2p.cli.checkpoint:checkpoint",
    "print-schema-hash": "psyche_p2p.cli.schema:print_schema_hash",
    "schema-diff": "psyche_p2p.cli.schema:schema_diff",
    "eval": "psyche_p2p.cli.evaluate:evaluate_checkpoint",
    "generate": "psyche_p2p.cli.generate:generate_text",
    "data": "psyche_p2p.cli.data:data",
    "bootstrap": "psyche_p2p.cli.bootstrap:bootstrap",
    "observe": "psyche_p2p.cli.observe:observe",
}
_SUMMARIES = {
    "start": "Train in a run.",
    "witness": "Check and vote in a run, without training.",
    "inspect-blob": "Show what is in a blob, and whether it is valid.",
    "keys": "Make and show a peer's identity.",
    "log": "Show a run's stored log, and verify it from its beginning.",
    "run": "Make a run, look at it, pause and resume it; check its configuration.",
    "checkpoint": "Make, cut, join, show and check checkpoints.",
    "print-schema-hash": "Print what peers compare before they train together.",
    "schema-diff": "Say which field of two models differs.",
    "eval": "Measure a checkpoint's held-out loss at every tier.",
    "generate": "Continue a text with a checkpoint.",
    "data": "Make training data, show it and compare it with others'.",
    "bootstrap": "Run a peer that others find the network through.",
    "observe": "Look at a run without taking part.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: psyche-peer keys new --out peer.key",
)
@click.version_option(__version__, prog_name="psyche-peer")
@click.option("--log-json", is_flag=True, help="Write log lines as JSON.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much to log, to standard error.",
)
def cli(log_json: bool, log_level: str) -> None:
    """Train a model together with peers who need not trust each other: no server, no chain."""
    configure_logging(level=getattr(logging, log_level.upper()), as_json=log_json)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `psyche-peer`."""
    run_command(cli, arguments)


def run_command(command: click.Command, arguments: list[str] | None = None) -> NoReturn:
    """Run a command; every error a person can mend becomes one line and a documented exit code."""
    sys.exit(_exit_code(command, arguments))


def _exit_code(command: click.Command, arguments: list[str] | None) -> int:
    try:
        result: Any = command.main(args=arguments, standalone_mode=False)
    except PsycheError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.OK
