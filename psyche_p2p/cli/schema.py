"""`psyche-peer print-schema-hash` and `schema-diff`: do two models mean the same parameters?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from psyche_p2p.config import load_run_config
from psyche_p2p.errors import ExitCode
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.load import LoadStrategy, plan_load
from psyche_p2p.model.schema import Schema, model_schema, schema_differences, schema_hash
from psyche_p2p.model.tiers import UNIVERSAL, tier_width

_path = click.Path(path_type=Path)


@click.command(epilog="Example: psyche-peer print-schema-hash --checkpoint nano --matformer-tier 1")
@click.option("--checkpoint", "source", type=_path, required=True, help="A checkpoint, or a TOML.")
@click.option("--matformer-tier", "tier", type=click.IntRange(min=0), help="A tier it must hold.")
def print_schema_hash(source: Path, tier: int | None) -> None:
    """Print the schema hash of a checkpoint or a run's TOML file, alone on a line.

    It is that of the universal model, whatever the tier: peers at different tiers agree on it.
    """
    click.echo(schema_hash(read_schema(source, None if tier is None else Tier(tier))).hex())


@click.command(epilog="Example: psyche-peer schema-diff nano configs/nano.toml")
@click.argument("left", metavar="A", type=_path)
@click.argument("right", metavar="B", type=_path)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def schema_diff(left: Path, right: Path, as_json: bool) -> int:
    """Say which fields of two checkpoints (or runs' TOML files) differ.

    Exit code 0: none, the schema hashes are equal. 11: some.
    """
    differences = schema_differences(read_schema(left), read_schema(right))
    if as_json:
        rows = [{"field": field, "a": a, "b": b} for field, a, b in differences]
        click.echo(json.dumps({"equal": not rows, "differences": rows}))
    elif not differences:
        click.echo("the schemas are equal")
    else:
        for field, a, b in differences:
            click.echo(f"{field}: {a} | {b}")
    return ExitCode.INVALID if differences else ExitCode.OK


def read_schema(source: Path, tier: Tier | None = None) -> Schema:
    """The schema of a checkpoint's folder or of a run's TOML file, which must have the tier."""
    if source.suffix == ".toml":
        config = load_run_config(source).model
        tier_width(config, tier or UNIVERSAL)
        return model_schema(config)
    checkpoint = open_checkpoint(source, verify_hashes=False)
    plan_load(checkpoint, tier, LoadStrategy.AUTO)
    return checkpoint.schema
