"""`psyche-peer checkpoint`: make, cut, join, show and check checkpoints."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from psyche_p2p.config import load_run_config
from psyche_p2p.errors import ExitCode, ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import Checkpoint, open_checkpoint
from psyche_p2p.model.checkpoint_writer import WriteOptions, write_checkpoint
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.param_root import ParamTree, extend_root
from psyche_p2p.model.schema import schema_differences, schema_hash
from psyche_p2p.model.suffix_gate import fold_gate
from psyche_p2p.model.tensor_file import StoredDtype
from psyche_p2p.model.tiers import merge_prefix, tier_width

_folder = click.Path(path_type=Path)
_replace = click.option(
    "--replace", "replace_old", is_flag=True, help="Replace an existing checkpoint in one step."
)
_dtype = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="The number format on disk.",
)
_tier = click.option(
    "--tier", type=click.IntRange(min=0), required=True, help="The tier to cut: FFN width >> tier."
)


@click.group(epilog="Example: psyche-peer checkpoint init --config configs/nano.toml --out nano")
def checkpoint() -> None:
    """Make, cut, join, show and check checkpoints.

    A checkpoint is a folder in Hugging Face's form (config.json, model.safetensors, tokenizer
    files), with psyche.json beside them, which holds the hash of every file and the param root.
    """


@checkpoint.command(
    epilog="Example: psyche-peer checkpoint init --config configs/nano.toml --seed 0 --out nano"
)
@click.option("--config", "config_path", type=_folder, required=True, help="A run's TOML file.")
@click.option("--seed", type=click.IntRange(min=0), help="Default: the run's own seed.")
@click.option("--out", type=_folder, required=True, help="The folder to make.")
@_dtype
@_replace
def init(
    config_path: Path, seed: int | None, out: Path, dtype: StoredDtype, replace_old: bool
) -> None:
    """Make the untrained model of a run: the same bits on every machine."""
    config = load_run_config(config_path)
    _stage(f"drawing the first parameters of {config.run.name}")
    state = initial_state(config.model, config.run.seed if seed is None else seed)
    options = WriteOptions(dtype=dtype, replace=replace_old)
    _written(out, write_checkpoint(out, config.model, state, options=options).param_root)


@checkpoint.command("slice", epilog="Example: psyche-peer checkpoint slice --tier 1 nano nano-t1")
@_tier
@click.argument("source", metavar="IN", type=_folder)
@click.argument("out", metavar="OUT", type=_folder)
@_replace
def slice_(tier: int, source: Path, out: Path, replace_old: bool) -> None:
    """Write the prefix of IN that a machine at a tier needs to OUT."""
    whole = _open(source)
    if tier <= whole.held_tier:
        raise ModelError(
            f"{str(source)!r} holds tier {whole.held_tier}: there is nothing to cut at tier {tier}",
            "choose a larger tier",
        )
    whole.require_tier(Tier(tier))
    known = whole.manifest.suffix_roots if whole.manifest else ()
    options = WriteOptions(
        dtype=whole.dtype,
        replace=replace_old,
        companions=source,
        suffix_gate=whole.suffix_gate,
        suffix_roots=(*_tree(whole).suffix_roots(Tier(tier)), *known),
    )
    state = whole.read_state(Tier(tier))
    _written(out, write_checkpoint(out, whole.config, state, Tier(tier), options).param_root)


@checkpoint.command(epilog="Example: psyche-peer checkpoint merge nano-t1 nano merged")
@click.argument("sliced", metavar="SLICED", type=_folder)
@click.argument("universal", metavar="UNIVERSAL", type=_folder)
@click.argument("out", metavar="OUT", type=_folder)
@_replace
def merge(sliced: Path, universal: Path, out: Path, replace_old: bool) -> None:
    """Put what SLICED holds into UNIVERSAL, whose suffix stays, and write OUT."""
    part, whole = _open(sliced), _open(universal)
    differences = schema_differences(part.schema, whole.schema)
    if differences:
        field, left, right = differences[0]
        raise ModelError(
            f"the checkpoints are not of one model: {field} is {left} and {right}",
            "psyche-peer schema-diff shows every difference",
        )
    if part.held_tier <= whole.held_tier:
        raise ModelError(
            f"{str(sliced)!r} (tier {part.held_tier}) is not a slice of {str(universal)!r} "
            f"(tier {whole.held_tier})",
            "give the smaller one first",
        )
    state = merge_prefix(whole.read_state(), part.read_state())
    options = WriteOptions(
        whole.dtype,
        replace=replace_old,
        companions=universal,
        suffix_gate=whole.suffix_gate,
    )
    _written(out, write_checkpoint(out, whole.config, state, whole.held_tier, options).param_root)


@checkpoint.command(epilog="Example: psyche-peer checkpoint export --dtype bfloat16 nano nano-hf")
@click.option("--tier", type=click.IntRange(min=0), help="Export only the prefix of this tier.")
@click.argument("source", metavar="IN", type=_folder)
@click.argument("out", metavar="OUT", type=_folder)
@_dtype
@_replace
def export(
    tier: int | None, source: Path, out: Path, dtype: StoredDtype, replace_old: bool
) -> None:
    """Write OUT as a plain Llama checkpoint for other tools: no tiers, no psyche.json.

    A suffix gate that was partly open becomes part of the weights.
    """
    whole = _open(source)
    held = whole.held_tier if tier is None else Tier(tier)
    state = fold_gate(whole.read_state(held), whole.suffix_gate)
    options = WriteOptions(dtype=dtype, replace=replace_old, companions=source, plain=True)
    _written(out, write_checkpoint(out, whole.config, state, held, options).param_root)


@checkpoint.command(epilog="Example: psyche-peer checkpoint info nano --json")
@click.argument("folder", metavar="DIR", type=_folder)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(folder: Path, as_json: bool) -> None:
    """Show what DIR holds, without reading its weights."""
    opened = open_checkpoint(folder, verify_hashes=False)
    values = _describe(opened)
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for key, value in values.items():
        click.echo(f"{key + ':':28} {value}")


@checkpoint.command(epilog="Example: psyche-peer checkpoint verify nano-t1 --against nano")
@click.argument("folder", metavar="DIR", type=_folder)
@click.option("--against", type=_folder, help="Also prove that DIR is a part of this checkpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(folder: Path, against: Path | None, as_json: bool) -> int:
    """Check every file, value and hash of DIR, and its param root.

    Exit code 0: all is as it was written. 8: it is not, or it is no part of the other checkpoint.
    """
    opened = _open(folder)
    root = _tree(opened).root()
    if opened.manifest is not None and opened.manifest.param_root != root:
        raise ModelError(
            f"the param root of {str(folder)!r} is {root.hex()}, not the recorded "
            f"{opened.manifest.param_root.hex()}",
            "fetch the checkpoint again",
        )
    values: dict[str, Any] = {
        "files": "verified" if opened.manifest else "no psyche.json: only their structure",
        "tier": opened.held_tier,
        "param_root": root.hex(),
    }
    if opened.manifest is not None and opened.manifest.suffix_roots:
        values["full_param_root"] = extend_root(root, opened.manifest.suffix_roots).hex()
    if against is not None:
        values["part_of"] = _require_part(opened, root, against)
    for line in [json.dumps(values)] if as_json else [f"{k}: {v}" for k, v in values.items()]:
        click.echo(line)
    return ExitCode.OK


def _require_part(part: Checkpoint, root: bytes, against: Path) -> str:
    whole = _open(against)
    whole.require_tier(part.held_tier)
    tree = _tree(whole)
    expected = tree.root(part.held_tier)
    if root != expected:
        raise ModelError(
            f"{str(part.folder)!r} is not a part of {str(against)!r}: its root is {root.hex()}, "
            f"that part's is {expected.hex()}",
            "slice the checkpoint again",
        )
    return tree.root().hex()


def _describe(opened: Checkpoint) -> dict[str, Any]:
    config, tensors = opened.config, opened.tensors.values()
    values = {
        "folder": str(opened.folder),
        "tier": opened.held_tier,
        "ffn_width": tier_width(config, opened.held_tier),
        "base_ffn_width": config.intermediate_size,
        "parameters": sum(math.prod(tensor.shape) for tensor in tensors),
        "tensors": len(tensors),
        "suffix_gate": "open" if opened.suffix_gate is None else str(opened.suffix_gate),
        "dtypes": ", ".join(sorted({tensor.type.name for tensor in tensors})),
        "size_bytes": sum(tensor.end - tensor.start for tensor in tensors),
        "schema_hash": schema_hash(opened.schema).hex(),
        "param_root": opened.manifest.param_root.hex() if opened.manifest else None,
    }
    described = {**values, **{f"config.{k}": v for k, v in config.model_dump().items()}}
    origin = None if opened.manifest is None else opened.manifest.origin
    if origin is not None:
        described |= {f"origin.{k}": v for k, v in origin.to_values().items() if k != "config"}
    return described


def _tree(opened: Checkpoint) -> ParamTree:
    _stage(f"reading {opened.folder}")
    tree = ParamTree(opened.config, opened.held_tier)
    tree.update(opened.read_state())
    return tree


def _open(folder: Path) -> Checkpoint:
    _stage(f"checking {folder}")
    return open_checkpoint(folder)


def _stage(text: str) -> None:
    """Progress for people: these steps take seconds at most, but a silent second is long."""
    if sys.stderr.isatty():
        click.echo(f"{text} ...", err=True)


def _written(folder: Path, root: bytes) -> None:
    click.echo(f"{folder}: param root {root.hex()}")
