"""tools/localnet: for now it checks its arguments and says what it will start."""

from __future__ import annotations

from pathlib import Path

import click

from psyche_p2p.cli.main import run_command
from psyche_p2p.config import load_run_config, run_id
from psyche_p2p.errors import ConfigError, Unavailable

ROOT = Path(__file__).resolve().parent.parent


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tools/localnet --tiers 0,1,1 --config configs/small.toml",
)
@click.option("--tiers", default="0,1,1", show_default=True, help="One tier a peer.")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=ROOT / "configs" / "small.toml",
    help="The run's configuration.  [default: configs/small.toml]",
)
def localnet(tiers: str, path: Path) -> None:
    """Start a bootstrap peer and one peer a tier on this machine, and train."""
    config = load_run_config(path)
    wanted = _parse_tiers(tiers, config.model.max_tier)
    click.echo(f"run {config.run.name}, id {run_id(config).hex()}")
    click.echo(f"peers: {len(wanted)}, at tiers {', '.join(map(str, wanted))}")
    raise Unavailable("this version has no network yet: nothing was started")


def _parse_tiers(text: str, max_tier: int) -> list[int]:
    try:
        tiers = [int(part) for part in text.split(",")]
    except ValueError:
        message = f"{text!r} is not a list like 0,1,1"
        raise click.BadParameter(message, param_hint="--tiers") from None
    for tier in tiers:
        if not 0 <= tier <= max_tier:
            raise ConfigError(
                f"--tiers {text}: tier {tier} is not allowed",
                f"this run's model.max_tier is {max_tier}",
            )
    return tiers


if __name__ == "__main__":
    run_command(localnet)
